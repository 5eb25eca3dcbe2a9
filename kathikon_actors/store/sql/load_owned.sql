-- Of a job that is as it was inserted, with nothing but defaults, only the first columns have values: see `usual`.
SELECT
    j.inserted_at, j.scheduled_at, j.timeout, j.priority, j.max_attempts, j.id, j.queue, j.worker, j.args, rest.*
FROM kathikon.jobs j LEFT JOIN LATERAL (
    SELECT
        j.attempted_at, j.finished_at, j.attempt, j.progress, j.orphaned, j.keep_result, j.state, j.meta, j.tags,
        j.history, j.errors, j.result,
        j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
        j.dependency_results, j.batch_id, j.parent_id
    WHERE j.state <> 'available' OR j.attempt <> 0 OR j.progress <> 0 OR j.orphaned <> 0 OR NOT j.keep_result
        OR j.history <> '' OR j.errors <> '' OR j.meta::text <> '{}'
        OR num_nonnulls(
            j.attempted_at, j.finished_at, j.tags, j.result, j.rerun_of, j.original_id, j.unique_key, j.guarded,
            j.partition_key, j.depends_on, j.on_dependency_failure, j.dependency_results, j.batch_id, j.parent_id
        ) > 0
) AS rest ON true
WHERE j.owner = $1 AND ($2::uuid IS NULL OR j.id > $2) AND EXISTS (
    SELECT FROM kathikon.lanes l WHERE l.node_id = $1 AND l.lane = 2 AND l.epoch = $3
)
ORDER BY j.id
LIMIT $4
