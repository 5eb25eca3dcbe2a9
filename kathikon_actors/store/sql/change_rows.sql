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
changed AS (
    UPDATE kathikon.jobs j
    SET state = r.state, attempt = r.attempt, max_attempts = r.max_attempts, scheduled_at = r.scheduled_at,
        attempted_at = r.attempted_at, finished_at = r.finished_at, history = r.history, errors = r.errors,
        result = r.result, progress = r.progress, orphaned = r.orphaned
    FROM found r
    WHERE j.ctid = r.place AND j.owner = $1 AND j.attempt = r.fence AND EXISTS (SELECT FROM lane)
    RETURNING j.id
)
SELECT
    EXISTS (SELECT FROM lane) AS member,
    CASE WHEN (SELECT count(*) FROM changed) < cardinality($6::uuid[]) THEN ARRAY (SELECT id FROM changed) END AS done
