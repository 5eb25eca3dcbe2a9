SELECT number, job_id, action, at, value, states FROM kathikon.commands
WHERE number = $1 AND answered_at IS NULL
FOR UPDATE SKIP LOCKED
