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
    $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[], $6::double precision[],
    $7::integer[], $8::integer[], $9::integer[], $10::smallint[], $11::smallint[], $12::boolean[], $13::uuid[],
    $14::text[], $15::text[], $16::text[], $17::json[], $18::json[], $19::text[], $20::text[], $21::text[], $22::json[],
    $23::uuid[], $24::uuid[], $25::uuid[], $26::integer[], $27::text[], $28::text[], $29::text[], $30::text[],
    $31::uuid[], $32::uuid[]
) AS r (
    inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress, orphaned,
    keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
    rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
    batch_id, parent_id
)
ON CONFLICT (id) DO NOTHING
RETURNING id
