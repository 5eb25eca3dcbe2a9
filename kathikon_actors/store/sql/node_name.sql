SELECT name FROM kathikon.nodes WHERE node_id = $1
