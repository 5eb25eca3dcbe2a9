UPDATE kathikon.nodes SET lease_until = clock_timestamp() + $3 * interval '1 second'
WHERE node_id = $1 AND epoch = $2 AND left_at IS NULL
RETURNING node_id
