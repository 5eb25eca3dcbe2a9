SELECT id FROM kathikon.finished_jobs WHERE batch_id = $1 AND state IN ('cancelled', 'discarded')
