-- Each queue offers its best rows; rows that were waiting for their time are offered oldest first. Workers in $6 are
-- passed over.
WITH lane AS (
    SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 AND session = $5 FOR SHARE
),
ready AS (
    SELECT j.id, j.priority, j.scheduled_at
    FROM unnest($3::text[]) AS q (name), LATERAL (
        SELECT id, priority, scheduled_at FROM kathikon.jobs
        WHERE owner IS NULL AND state = 'available' AND queue = q.name AND scheduled_at <= now()
            AND worker <> ALL ($6::text[])
        ORDER BY priority DESC, scheduled_at, id
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    ) AS j
),
due AS (
    SELECT j.id, j.priority, j.scheduled_at
    FROM unnest($3::text[]) AS q (name), LATERAL (
        SELECT id, priority, scheduled_at FROM kathikon.jobs
        WHERE owner IS NULL AND state IN ('scheduled', 'retryable') AND queue = q.name AND scheduled_at <= now()
            AND worker <> ALL ($6::text[])
        ORDER BY scheduled_at
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    ) AS j
),
best AS (
    SELECT id FROM (SELECT * FROM ready UNION ALL SELECT * FROM due) AS offered
    ORDER BY priority DESC, scheduled_at, id
    LIMIT $4
),
claimed AS (
    UPDATE kathikon.jobs j SET owner = $1
    WHERE j.id = ANY (ARRAY (SELECT id FROM best)) AND EXISTS (SELECT FROM lane)
    RETURNING
        j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts,
        j.attempt, j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags,
        j.history, j.errors, j.result,
        j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
        j.dependency_results, j.batch_id, j.parent_id
)
SELECT claimed.*, lane.epoch IS NOT NULL AS member
FROM (SELECT) AS always LEFT JOIN lane ON true LEFT JOIN claimed ON true
