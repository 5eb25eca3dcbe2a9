-- In plain types only, so that every connection decodes them alike.
SELECT
    name, expression, timezone, catch_up, template, declared, paused, revision,
    (extract(epoch FROM last_tick) * 1000000)::bigint AS last_tick
FROM kathikon.crons
WHERE NOT removed
ORDER BY name
