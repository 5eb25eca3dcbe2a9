SELECT
    j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts, j.attempt,
    j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags, j.history, j.errors,
    j.result,
    j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
    j.dependency_results, j.batch_id, j.parent_id,
    n.name AS node
FROM (
    (
        SELECT * FROM kathikon.jobs
        WHERE batch_id = $1 AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id
        LIMIT $3
    )
    UNION ALL
    (
        SELECT * FROM kathikon.jobs
        WHERE parent_id = $1 AND batch_id IS DISTINCT FROM $1 AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id
        LIMIT $3
    )
    UNION ALL
    (
        SELECT * FROM kathikon.finished_jobs
        WHERE batch_id = $1 AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id
        LIMIT $3
    )
    UNION ALL
    (
        SELECT * FROM kathikon.finished_jobs
        WHERE parent_id = $1 AND batch_id IS DISTINCT FROM $1 AND ($2::uuid IS NULL OR id > $2)
        ORDER BY id
        LIMIT $3
    )
) AS j
LEFT JOIN kathikon.nodes n ON n.node_id = j.owner
ORDER BY j.id
LIMIT $3
