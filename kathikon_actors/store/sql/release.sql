WITH lane AS (
    SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 AND session = $4 FOR SHARE
),
released AS (
    UPDATE kathikon.jobs SET owner = NULL
    WHERE id = ANY ($3::uuid[]) AND owner = $1 AND EXISTS (SELECT FROM lane)
        AND NOT EXISTS (SELECT FROM kathikon.deliveries d WHERE d.job_id = jobs.id)
    RETURNING queue
),
names AS (SELECT string_agg(DISTINCT queue, ',') AS text FROM released HAVING count(*) > 0),
told AS (SELECT pg_notify('kathikon_unowned', CASE WHEN length(text) < 7900 THEN text ELSE '' END) FROM names)
SELECT EXISTS (SELECT FROM lane), (SELECT count(*) FROM told)
