SELECT node_id FROM kathikon.nodes WHERE name = $1
