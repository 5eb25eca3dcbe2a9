-- Of live rows by looking at them, of finished ones by their counters.
SELECT queue, state, sum(number)::bigint
FROM (
    SELECT queue, state, count(*) AS number FROM kathikon.jobs GROUP BY queue, state
    UNION ALL
    SELECT queue, state, sum(number) AS number FROM kathikon.finished_counts GROUP BY queue, state
) AS j
GROUP BY queue, state
HAVING sum(number) > 0
ORDER BY queue
