-- Finished rows that live again; they are changed afterwards, in the same transaction.
WITH gone AS (DELETE FROM kathikon.finished_jobs WHERE id = ANY ($1::uuid[]) RETURNING *)
INSERT INTO kathikon.jobs SELECT * FROM gone
