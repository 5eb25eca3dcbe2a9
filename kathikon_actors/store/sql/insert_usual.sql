-- What most new jobs are; every other column has its default.
WITH lane AS (
    UPDATE kathikon.lanes SET batch = $5
    WHERE node_id = $1 AND lane = $2 AND epoch = $3 AND session = $4
    RETURNING batch
)
INSERT INTO kathikon.jobs (
    owner, inserted_at, scheduled_at, timeout, priority, max_attempts, id, queue, worker, args
)
SELECT
    $1,
    timestamptz '2000-01-01 00:00Z' + r.inserted_at * interval '1 microsecond',
    timestamptz '2000-01-01 00:00Z' + r.scheduled_at * interval '1 microsecond',
    r.timeout, r.priority, r.max_attempts, r.id, r.queue, r.worker, r.args
FROM unnest(
    $6::bigint[], $7::bigint[], $8::double precision[], $9::integer[], $10::integer[], $11::uuid[], $12::text[],
    $13::text[], $14::json[]
) AS r (inserted_at, scheduled_at, timeout, priority, max_attempts, id, queue, worker, args)
WHERE EXISTS (SELECT FROM lane)
