-- A few rows of each partition that the node has nothing of. The partitions are found by leaps through the index.
WITH RECURSIVE lane AS (
    SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 AND session = $6 FOR SHARE
),
partitions AS (
    (
        SELECT partition_key FROM kathikon.jobs
        WHERE owner IS NULL AND state = 'available' AND queue = $3 AND partition_key IS NOT NULL
        ORDER BY partition_key
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT j.partition_key FROM kathikon.jobs j
        WHERE j.owner IS NULL AND j.state = 'available' AND j.queue = $3 AND j.partition_key > p.partition_key
        ORDER BY j.partition_key
        LIMIT 1
    )
    FROM partitions p
    WHERE p.partition_key IS NOT NULL
),
wanted AS (
    SELECT p.partition_key FROM partitions p
    WHERE p.partition_key IS NOT NULL AND p.partition_key <> ALL ($4::text[])
    LIMIT $5
),
picked AS (
    SELECT j.id
    FROM wanted w, LATERAL (
        SELECT id FROM kathikon.jobs
        WHERE owner IS NULL AND state = 'available' AND queue = $3 AND partition_key = w.partition_key
            AND scheduled_at <= now()
        ORDER BY priority DESC, scheduled_at, id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS j
),
claimed AS (
    UPDATE kathikon.jobs j SET owner = $1
    WHERE j.id = ANY (ARRAY (SELECT id FROM picked)) AND EXISTS (SELECT FROM lane)
    RETURNING
        j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at, j.timeout, j.priority, j.max_attempts,
        j.attempt, j.progress, j.orphaned, j.keep_result, j.id, j.state, j.queue, j.worker, j.args, j.meta, j.tags,
        j.history, j.errors, j.result,
        j.rerun_of, j.original_id, j.unique_key, j.guarded, j.partition_key, j.depends_on, j.on_dependency_failure,
        j.dependency_results, j.batch_id, j.parent_id
)
SELECT claimed.*, lane.epoch IS NOT NULL AS member
FROM (SELECT) AS always LEFT JOIN lane ON true LEFT JOIN claimed ON true
