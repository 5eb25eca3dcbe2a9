INSERT INTO kathikon.jobs (
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result, rerun_of, original_id
)
VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24
)
