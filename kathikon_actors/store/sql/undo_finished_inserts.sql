-- Runs after the insert with a snapshot of its own, so that it sees a row that moved to finished_jobs meanwhile.
DELETE FROM kathikon.jobs j USING kathikon.finished_jobs f
WHERE j.id = ANY ($1::uuid[]) AND f.id = j.id
RETURNING j.id
