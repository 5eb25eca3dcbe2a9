SELECT
    j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts, j.attempt,
    j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags, j.history, j.errors,
    j.result,
    j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
    j.dependency_results, j.batch_id, j.parent_id,
    n.name AS node
FROM (
    SELECT * FROM kathikon.jobs WHERE id = $1
    UNION ALL
    SELECT * FROM kathikon.finished_jobs WHERE id = $1
    UNION ALL
    SELECT * FROM kathikon.archived_jobs WHERE id = $1
) AS j
LEFT JOIN kathikon.nodes n ON n.node_id = j.owner
