UPDATE kathikon.nodes SET epoch = epoch + 1 WHERE node_id = $1 RETURNING epoch
