SELECT resolved_at IS NOT NULL FROM kathikon.batch_counts WHERE id = $1 FOR UPDATE
