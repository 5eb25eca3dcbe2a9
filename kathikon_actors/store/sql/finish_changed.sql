-- With their end they hold no key any more. Of an id that has ended before the first row stays as it is.
WITH gone AS (DELETE FROM kathikon.jobs WHERE id = ANY ($1::uuid[]) RETURNING *)
INSERT INTO kathikon.finished_jobs (
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
)
SELECT
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
FROM gone
ON CONFLICT (id) DO NOTHING
