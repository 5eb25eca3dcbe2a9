-- Moved in one statement: a row is in one of the two tables, whoever looks, and whoever dies.
WITH old AS (
    SELECT id FROM kathikon.finished_jobs
    WHERE finished_at < clock_timestamp() - $1 * interval '1 second'
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM kathikon.finished_jobs WHERE id = ANY (ARRAY (SELECT id FROM old)) RETURNING *
)
INSERT INTO kathikon.archived_jobs SELECT * FROM gone ON CONFLICT (id) DO NOTHING
