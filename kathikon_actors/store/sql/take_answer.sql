DELETE FROM kathikon.commands WHERE number = $1 AND node_id IS NOT NULL AND answered_at IS NOT NULL RETURNING answer
