-- Waits for the commits in flight; afterwards the node commits nothing more.
UPDATE kathikon.lanes SET epoch = 0, backend = NULL WHERE node_id = $1
