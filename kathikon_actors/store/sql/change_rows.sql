WITH lane AS (
    UPDATE kathikon.lanes SET batch = $5
    WHERE node_id = $1 AND lane = $2 AND epoch = $3 AND session = $4
    RETURNING batch
),
changed AS (
    UPDATE kathikon.jobs j
    SET state = coalesce(r.state, 'completed'), attempt = r.attempt, max_attempts = r.max_attempts,
        scheduled_at = r.scheduled_at, attempted_at = r.attempted_at, finished_at = r.finished_at,
        history = r.history, errors = coalesce(r.errors, ''), result = r.result,
        progress = coalesce(r.progress, 100), orphaned = coalesce(r.orphaned, 0)
    FROM unnest(
        $6::uuid[], $7::integer[], $8::text[], $9::integer[], $10::integer[], $11::timestamptz[], $12::timestamptz[],
        $13::timestamptz[], $14::text[], $15::text[], $16::json[], $17::smallint[], $18::smallint[]
    ) AS r (
        id, fence, state, attempt, max_attempts, scheduled_at, attempted_at, finished_at, history, errors, result,
        progress, orphaned
    )
    WHERE j.id = r.id AND j.owner = $1 AND j.attempt = r.fence AND EXISTS (SELECT FROM lane)
    RETURNING j.id
)
SELECT
    EXISTS (SELECT FROM lane) AS member,
    CASE WHEN (SELECT count(*) FROM changed) < cardinality($6::uuid[]) THEN ARRAY (SELECT id FROM changed) END AS done
