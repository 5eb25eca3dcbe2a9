SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 AND session = $3 FOR SHARE
