SELECT id FROM kathikon.batch_counts WHERE id = $1 FOR UPDATE
