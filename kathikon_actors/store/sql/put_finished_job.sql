INSERT INTO kathikon.finished_jobs (
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
    $26, $27, $28, $29, $30, $31, $32
)
ON CONFLICT (id) DO NOTHING
