-- The best ready row of each queue that nobody owns, and when the first of those that wait for their time is due. Pairs
-- of a queue in $2 and a worker in $3 are passed over.
SELECT q.name, ready.priority, ready.scheduled_at, ready.id, due.seconds
FROM unnest($1::text[]) AS q (name)
CROSS JOIN LATERAL (
    SELECT ARRAY (SELECT p.worker FROM unnest($2::text[], $3::text[]) AS p (queue, worker) WHERE p.queue = q.name)
) AS passed (workers)
LEFT JOIN LATERAL (
    SELECT priority, scheduled_at, id FROM kathikon.jobs
    WHERE owner IS NULL AND state = 'available' AND queue = q.name AND worker <> ALL (passed.workers)
    ORDER BY priority DESC, scheduled_at, id
    LIMIT 1
) AS ready ON true
LEFT JOIN LATERAL (
    SELECT extract(epoch FROM scheduled_at - clock_timestamp())::double precision AS seconds FROM kathikon.jobs
    WHERE owner IS NULL AND state IN ('scheduled', 'retryable') AND queue = q.name AND worker <> ALL (passed.workers)
    ORDER BY scheduled_at
    LIMIT 1
) AS due ON true
