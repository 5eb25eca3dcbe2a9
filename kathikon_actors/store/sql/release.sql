WITH lane AS (
    SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 FOR SHARE
),
released AS (
    UPDATE kathikon.jobs SET owner = NULL
    WHERE id = ANY ($3::uuid[]) AND owner = $1 AND EXISTS (SELECT FROM lane)
)
SELECT EXISTS (SELECT FROM lane)
