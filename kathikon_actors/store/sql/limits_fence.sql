SELECT epoch FROM kathikon.lanes WHERE node_id = $1 AND lane = 3 AND epoch = $2 AND session = $3 FOR SHARE
