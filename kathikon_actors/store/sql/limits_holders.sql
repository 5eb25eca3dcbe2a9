-- What a node held counts until it has left or was fenced: an epoch of its own for every life.
SELECT h.name, h.key, h.node_id, h.held, h.wanted, h.served, h.epoch, n.epoch = h.epoch AND n.left_at IS NULL AS alive
FROM kathikon.limit_holders h
JOIN unnest($1::text[], $2::text[]) AS r (name, key) ON h.name = r.name AND h.key = r.key
JOIN kathikon.nodes n ON n.node_id = h.node_id
