UPDATE kathikon.nodes
SET epoch = epoch + 1, lease_until = clock_timestamp() + $2 * interval '1 second', started_at = clock_timestamp(),
    left_at = NULL
WHERE node_id = $1
RETURNING epoch
