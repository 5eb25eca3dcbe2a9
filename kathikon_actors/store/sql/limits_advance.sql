UPDATE kathikon.limits l SET tat = r.tat
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS r (name, key, tat)
WHERE l.name = r.name AND l.key = r.key
