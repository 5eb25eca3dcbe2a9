-- Runs after the insert with a snapshot of its own, so that it sees a row that moved to finished_jobs meanwhile.
DELETE FROM kathikon.jobs
WHERE id = ANY ((SELECT kathikon.ended_ids($1::uuid[]))::uuid[])
RETURNING id
