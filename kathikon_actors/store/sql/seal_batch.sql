UPDATE kathikon.batches SET sealed_at = clock_timestamp() WHERE id = $1 AND sealed_at IS NULL RETURNING total
