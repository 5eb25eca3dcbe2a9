-- What no node owns and is due; what a node owns it promotes itself, by its timer.
WITH due AS (
    SELECT id FROM kathikon.jobs
    WHERE owner IS NULL AND state IN ('scheduled', 'retryable') AND scheduled_at <= clock_timestamp()
    ORDER BY scheduled_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
promoted AS (
    UPDATE kathikon.jobs j
    SET state = 'available', history = CASE WHEN history = '' THEN '' ELSE history || ',' END || format(
        '[%s,"due","%s","available"]', floor(extract(epoch FROM clock_timestamp()) * 1000000)::bigint, state
    )
    WHERE id = ANY (ARRAY (SELECT id FROM due))
    RETURNING queue, id, worker, attempt, history
),
names AS (SELECT string_agg(DISTINCT queue, ',') AS text FROM promoted HAVING count(*) > 0),
told AS (SELECT pg_notify('kathikon_unowned', CASE WHEN length(text) < 7900 THEN text ELSE '' END) FROM names)
SELECT
    (SELECT count(*) FROM promoted) AS number, (SELECT count(*) FROM told),
    CASE WHEN $2 THEN (
        SELECT json_agg(json_build_array(id, worker, queue, attempt, ('[' || history || ']')::json -> -1 ->> 2))
        FROM promoted
    ) END AS moved
