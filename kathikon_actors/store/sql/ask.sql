INSERT INTO kathikon.commands (job_id, action, at, value)
SELECT job_id, $2, $3, $4 FROM unnest($1::uuid[]) AS j (job_id)
RETURNING number, job_id
