-- Runs after the insert with a snapshot of its own, so that it sees a row that moved to finished_jobs meanwhile. A fixed
-- snapshot may still see that one here, too: it is no new row.
DELETE FROM kathikon.jobs
WHERE owner IS NULL AND xmax = '0' AND id = ANY ((SELECT kathikon.ended_ids($1::text[]::uuid[]))::uuid[])
RETURNING id::text
