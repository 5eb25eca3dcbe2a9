-- A removed one of this name is in nobody's way.
INSERT INTO kathikon.crons AS c (name, expression, timezone, catch_up, template, last_tick)
VALUES ($1, $2, $3, $4, $5, timestamptz '1970-01-01 00:00Z' + $6::bigint * interval '1 microsecond')
ON CONFLICT (name) DO UPDATE
SET expression = excluded.expression, timezone = excluded.timezone, catch_up = excluded.catch_up,
    template = excluded.template, paused = false, removed = false, revision = c.revision + 1,
    last_tick = greatest(c.last_tick, excluded.last_tick)
WHERE c.removed
RETURNING name
