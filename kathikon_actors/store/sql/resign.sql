UPDATE kathikon.leader SET lease_until = 'epoch' WHERE node_id = $1
