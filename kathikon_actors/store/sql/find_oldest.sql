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
        WHERE ($1::text IS NULL OR worker = $1) AND ($2::text IS NULL OR queue = $2)
            AND ($3::text[] IS NULL OR state = ANY ($3)) AND ($4::text[] IS NULL OR tags @> $4)
            AND ($5::uuid IS NULL OR id > $5)
        ORDER BY id ASC
        LIMIT $6
    )
    UNION ALL
    (
        SELECT * FROM kathikon.finished_jobs
        WHERE ($1::text IS NULL OR worker = $1) AND ($2::text IS NULL OR queue = $2)
            AND ($3::text[] IS NULL OR state = ANY ($3)) AND ($4::text[] IS NULL OR tags @> $4)
            AND ($5::uuid IS NULL OR id > $5)
        ORDER BY id ASC
        LIMIT $6
    )
) AS j
LEFT JOIN kathikon.nodes n ON n.node_id = j.owner
ORDER BY j.id ASC
LIMIT $6
