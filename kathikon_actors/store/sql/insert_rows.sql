WITH lane AS (
    UPDATE kathikon.lanes SET batch = $5
    WHERE node_id = $1 AND lane = $2 AND epoch = $3 AND session = $4
    RETURNING batch
)
INSERT INTO kathikon.jobs (
    owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
    orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
)
SELECT
    $1, r.inserted_at, r.scheduled_at, r.attempted_at, r.finished_at, r.timeout, r.priority, r.max_attempts, r.attempt,
    r.progress, r.orphaned, r.keep_result, r.id, r.state, r.queue, r.worker, r.args, r.meta, r.tags::text[], r.history,
    r.errors, r.result,
    r.rerun_of, r.original_id, r.unique_key, r.guarded, r.partition_key, r.depends_on::uuid[], r.on_dependency_failure,
    r.dependency_results, r.batch_id, r.parent_id
FROM unnest(
    $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::double precision[],
    $11::integer[], $12::integer[], $13::integer[], $14::smallint[], $15::smallint[], $16::boolean[], $17::uuid[],
    $18::text[], $19::text[], $20::text[], $21::json[], $22::json[], $23::text[], $24::text[], $25::text[], $26::json[],
    $27::uuid[], $28::uuid[], $29::uuid[], $30::integer[], $31::text[], $32::text[], $33::text[], $34::text[],
    $35::uuid[], $36::uuid[]
) AS r (
    inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress, orphaned,
    keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
)
WHERE EXISTS (SELECT FROM lane)
