-- Each row is looked up by itself (OFFSET 0 keeps the planner from turning that into a join): right after the table
-- was empty the statistics speak of one row, and a join would read all of it.
WITH lane AS (
    UPDATE kathikon.lanes SET batch = $5
    WHERE node_id = $1 AND lane = $2 AND epoch = $3 AND session = $4
    RETURNING batch
),
found AS (
    SELECT
        r.id, coalesce(r.attempt, 1) AS attempt, coalesce(r.fence, coalesce(r.attempt, 1) - 1) AS fence,
        coalesce(r.state, 'completed') AS state, coalesce(r.max_attempts, 3) AS max_attempts,
        timestamptz '2000-01-01 00:00Z' + r.scheduled_at * interval '1 microsecond' AS scheduled_at,
        timestamptz '2000-01-01 00:00Z' + r.attempted_at * interval '1 microsecond' AS attempted_at,
        timestamptz '2000-01-01 00:00Z' + r.finished_at * interval '1 microsecond' AS finished_at,
        coalesce(r.history, '') AS history, coalesce(r.errors, '') AS errors, r.result, coalesce(r.progress, 100) AS progress,
        coalesce(r.orphaned, 0) AS orphaned, j.place
    FROM unnest(
        $6::uuid[], $7::integer[], $8::text[], $9::integer[], $10::integer[], $11::bigint[], $12::bigint[],
        $13::bigint[], $14::text[], $15::text[], $16::json[], $17::smallint[], $18::smallint[]
    ) AS r (
        id, fence, state, attempt, max_attempts, scheduled_at, attempted_at, finished_at, history, errors, result,
        progress, orphaned
    )
    CROSS JOIN LATERAL (SELECT ctid AS place FROM kathikon.jobs WHERE id = r.id OFFSET 0) AS j
),
gone AS (
    DELETE FROM kathikon.jobs j
    USING found r
    WHERE j.ctid = r.place AND j.owner = $1 AND j.attempt = r.fence AND EXISTS (SELECT FROM lane)
    RETURNING
        j.owner, j.inserted_at, r.scheduled_at, r.attempted_at, r.finished_at, j.timeout, j.priority, r.max_attempts,
        r.attempt, r.progress, r.orphaned, j.keep_result, j.id, r.state, j.queue, j.worker, j.args, j.meta, j.tags,
        r.history, r.errors, r.result,
        j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
        j.dependency_results, j.batch_id, j.parent_id
),
kept AS (
    INSERT INTO kathikon.finished_jobs (
        owner, inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result,
        rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure,
        dependency_results, batch_id, parent_id
    )
    SELECT * FROM gone g
    -- The first job of an id stays as it is, whatever brought a second one here. Cheaper than ON CONFLICT.
    WHERE NOT EXISTS (SELECT FROM kathikon.finished_jobs f WHERE f.id = g.id OFFSET 0)
    RETURNING id
)
SELECT
    EXISTS (SELECT FROM lane) AS member,
    CASE WHEN (SELECT count(*) FROM kept) < cardinality($6::uuid[]) THEN ARRAY (SELECT id FROM kept) END AS done
