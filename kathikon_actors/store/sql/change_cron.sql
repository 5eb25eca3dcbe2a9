-- From now on: what the entry missed while it was another one, or paused, is not made up for.
UPDATE kathikon.crons
SET expression = coalesce($2, expression), timezone = coalesce($3, timezone), catch_up = coalesce($4, catch_up),
    template = coalesce($5, template), paused = coalesce($6, paused), revision = revision + 1,
    last_tick = greatest(last_tick, timestamptz '1970-01-01 00:00Z' + $7::bigint * interval '1 microsecond')
WHERE name = $1 AND NOT removed
RETURNING name
