SELECT queue, state, sum(number)::bigint
FROM (
    SELECT queue, state, count(*) AS number FROM kathikon.jobs GROUP BY queue, state
    UNION ALL
    SELECT queue, state, count(*) AS number FROM kathikon.finished_jobs GROUP BY queue, state
) AS j
GROUP BY queue, state
ORDER BY queue
