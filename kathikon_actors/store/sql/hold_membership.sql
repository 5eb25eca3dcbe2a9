SELECT node_id FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 FOR SHARE
