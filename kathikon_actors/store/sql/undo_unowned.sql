-- Runs after the insert with a snapshot of its own, so that it sees a row that moved to finished_jobs meanwhile.
DELETE FROM kathikon.jobs
WHERE owner IS NULL AND id = ANY (ARRAY (SELECT id FROM kathikon.finished_jobs WHERE id = ANY ($1::text[]::uuid[])))
RETURNING id::text
