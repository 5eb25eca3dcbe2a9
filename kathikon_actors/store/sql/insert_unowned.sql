-- In plain types only, so that it works with whatever codecs the caller has set on a connection of his own. Unless all
-- are admitted, rows of queues that refuse inserts above a bound are left out, and these queues told.
WITH stored AS (
    INSERT INTO kathikon.jobs (
        inserted_at, scheduled_at, timeout, priority, max_attempts, keep_result, id, state, queue, worker, args, meta,
        tags, history, unique_key, holds_key, batch_id, parent_id, guarded, partition_key, depends_on,
        on_dependency_failure, dependency_results
    )
    SELECT
        timestamptz '2000-01-01 00:00Z' + r.inserted_at * interval '1 microsecond',
        timestamptz '2000-01-01 00:00Z' + r.scheduled_at * interval '1 microsecond',
        r.timeout, r.priority, r.max_attempts, r.keep_result, r.id::uuid, r.state, r.queue, r.worker, r.args::json,
        r.meta::json, r.tags::text[], r.history, r.unique_key::uuid, nullif(r.unique_key IS NOT NULL, false),
        r.batch_id::uuid, r.parent_id::uuid, r.guarded, r.partition_key, r.depends_on::uuid[], r.on_dependency_failure,
        r.dependency_results
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::double precision[], $4::bigint[], $5::bigint[], $6::boolean[], $7::text[],
        $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[],
        $15::text[], $16::text[], $17::text[], $18::integer[], $19::text[], $20::text[], $21::text[], $22::text[]
    ) AS r (
        inserted_at, scheduled_at, timeout, priority, max_attempts, keep_result, id, state, queue, worker, args, meta,
        tags, history, unique_key, batch_id, parent_id, guarded, partition_key, depends_on, on_dependency_failure,
        dependency_results
    )
    WHERE $23::boolean OR NOT EXISTS (
        SELECT FROM kathikon.queue_limits l WHERE l.queue = r.queue AND l.on_full = 'refuse'
    )
    ON CONFLICT DO NOTHING
    RETURNING id, queue
),
names AS (SELECT string_agg(DISTINCT queue, ',') AS text FROM stored HAVING count(*) > 0),
-- Told when the transaction commits: whoever listens may claim.
told AS (SELECT pg_notify('kathikon_unowned', CASE WHEN length(text) < 7900 THEN text ELSE '' END) FROM names)
SELECT
    (SELECT count(*) FROM told) AS told, ARRAY (SELECT id::text FROM stored) AS ids,
    ARRAY (
        SELECT queue FROM kathikon.queue_limits
        WHERE NOT $23::boolean AND on_full = 'refuse' AND queue = ANY ($9::text[])
    ) AS limited
