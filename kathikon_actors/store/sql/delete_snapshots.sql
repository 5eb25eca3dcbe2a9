WITH held AS (
    SELECT node_id FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 FOR SHARE
), gone AS (
    DELETE FROM kathikon.snapshots AS s USING held WHERE s.node_id = $1 AND s.actor = $3
)
SELECT EXISTS (SELECT FROM held)
