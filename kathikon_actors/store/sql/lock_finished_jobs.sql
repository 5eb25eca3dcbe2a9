-- One whose id a live job has too cannot live again.
SELECT
    inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress, orphaned,
    keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
FROM kathikon.finished_jobs f
WHERE id = ANY ($1::uuid[]) AND NOT EXISTS (SELECT FROM kathikon.jobs j WHERE j.id = f.id OFFSET 0)
ORDER BY id
FOR UPDATE
