-- Code has the word, but once: what was changed by hand stays until the declaration itself changes.
INSERT INTO kathikon.crons AS c (name, expression, timezone, catch_up, template, declared, declaration, last_tick)
SELECT r.name, r.expression, r.timezone, r.catch_up, r.template, true, r.declaration,
    timestamptz '1970-01-01 00:00Z' + $7::bigint * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS r (name, expression, timezone, catch_up, template, declaration)
ORDER BY r.name
ON CONFLICT (name) DO UPDATE
SET expression = excluded.expression, timezone = excluded.timezone, catch_up = excluded.catch_up,
    template = excluded.template, declared = true, declaration = excluded.declaration, removed = false,
    revision = c.revision + 1,
    last_tick = CASE
        WHEN (c.expression, c.timezone) = (excluded.expression, excluded.timezone) THEN c.last_tick
        ELSE greatest(c.last_tick, excluded.last_tick)
    END
WHERE c.declaration <> excluded.declaration
RETURNING name
