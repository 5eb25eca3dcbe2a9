DELETE FROM kathikon.limit_holders h
USING unnest($1::text[], $2::text[], $3::integer[]) AS r (name, key, node_id)
WHERE h.name = r.name AND h.key = r.key AND h.node_id = r.node_id
