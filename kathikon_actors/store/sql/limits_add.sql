INSERT INTO kathikon.limits (name, key)
SELECT r.name, r.key FROM unnest($1::text[], $2::text[]) AS r (name, key)
ORDER BY r.name COLLATE "C", r.key COLLATE "C"
ON CONFLICT DO NOTHING
