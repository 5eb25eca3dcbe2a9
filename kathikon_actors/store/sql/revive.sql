-- Finished rows that live again; they are changed afterwards, in the same transaction. In the order of their keys, as all
-- rows that hold keys are stored.
WITH gone AS (DELETE FROM kathikon.finished_jobs WHERE id = ANY ($1::uuid[]) RETURNING *)
INSERT INTO kathikon.jobs (
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id, holds_key
)
SELECT
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id, nullif(unique_key IS NOT NULL, false)
FROM gone
ORDER BY unique_key
