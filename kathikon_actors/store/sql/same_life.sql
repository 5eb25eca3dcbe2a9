SELECT EXISTS (SELECT FROM kathikon.nodes WHERE node_id = $1 AND epoch = $2 FOR UPDATE)
