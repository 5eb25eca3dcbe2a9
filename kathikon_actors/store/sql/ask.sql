INSERT INTO kathikon.commands (job_id, action, at, value, states)
SELECT job_id, $2, $3, $4, $5::text[] FROM unnest($1::uuid[]) AS j (job_id)
RETURNING number, job_id
