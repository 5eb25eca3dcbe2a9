-- The same declaration, marked with another key: what was changed by hand stays.
UPDATE kathikon.crons c SET declaration = r.declaration
FROM unnest($1::text[], $2::text[], $3::text[]) AS r (name, older, declaration)
WHERE c.name = r.name AND c.declaration = r.older
