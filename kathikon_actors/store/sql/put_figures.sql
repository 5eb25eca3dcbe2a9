INSERT INTO kathikon.figures (at, node_id, queue, worker, completed, cancelled, discarded, failed, waits, runs)
SELECT
    timestamptz '2000-01-01 00:00Z' + $2 * interval '1 microsecond', $1, r.queue, r.worker, r.completed, r.cancelled,
    r.discarded, r.failed, r.waits::integer[], r.runs::integer[]
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::text[], $10::text[])
    AS r (queue, worker, completed, cancelled, discarded, failed, waits, runs)
ON CONFLICT DO NOTHING
