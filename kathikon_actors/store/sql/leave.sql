WITH gone AS (
    UPDATE kathikon.nodes SET left_at = clock_timestamp(), lease_until = clock_timestamp()
    WHERE node_id = $1 AND epoch = $2 AND left_at IS NULL
    RETURNING node_id
)
UPDATE kathikon.lanes SET epoch = 0 FROM gone WHERE lanes.node_id = gone.node_id
RETURNING lanes.node_id
