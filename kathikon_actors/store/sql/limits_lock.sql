SELECT l.name, l.key, l.tat
FROM kathikon.limits l
JOIN unnest($1::text[], $2::text[]) AS r (name, key) ON l.name = r.name AND l.key = r.key
ORDER BY l.name COLLATE "C", l.key COLLATE "C"
FOR UPDATE OF l
