WITH page AS (
    SELECT id FROM kathikon.jobs
    WHERE owner = $2 AND ($3::uuid IS NULL OR id > $3)
        AND NOT EXISTS (SELECT FROM kathikon.deliveries d WHERE d.job_id = jobs.id)
    ORDER BY id
    LIMIT $4
    FOR UPDATE
)
UPDATE kathikon.jobs j SET owner = $1, orphaned = j.orphaned + $5
WHERE j.id = ANY (ARRAY (SELECT id FROM page))
RETURNING
    j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts, j.attempt,
    j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags, j.history, j.errors,
    j.result,
    j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
    j.dependency_results, j.batch_id, j.parent_id
