DELETE FROM kathikon.commands WHERE number = $1 AND node_id IS NOT NULL
