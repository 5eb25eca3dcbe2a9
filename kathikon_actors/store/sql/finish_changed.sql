WITH gone AS (DELETE FROM kathikon.jobs WHERE id = ANY ($1::uuid[]) RETURNING *)
INSERT INTO kathikon.finished_jobs SELECT * FROM gone
