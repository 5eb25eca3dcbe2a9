WITH ready AS (
    SELECT id, priority, scheduled_at FROM kathikon.jobs
    WHERE owner IS NULL AND state = 'available' AND queue = $1 AND scheduled_at <= now()
    ORDER BY priority DESC, scheduled_at, id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
due AS (
    SELECT id, priority, scheduled_at FROM kathikon.jobs
    WHERE owner IS NULL AND state IN ('scheduled', 'retryable') AND queue = $1 AND scheduled_at <= now()
    ORDER BY scheduled_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
best AS (
    SELECT id FROM (SELECT * FROM ready UNION ALL SELECT * FROM due) AS offered
    WHERE NOT EXISTS (SELECT FROM kathikon.queues WHERE name = $1 AND (paused OR removed))
    ORDER BY priority DESC, scheduled_at, id
    LIMIT $2
)
SELECT
    j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts, j.attempt,
    j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags, j.history, j.errors,
    j.result,
    j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
    j.dependency_results, j.batch_id, j.parent_id
FROM kathikon.jobs j
WHERE j.id = ANY (ARRAY (SELECT id FROM best))
