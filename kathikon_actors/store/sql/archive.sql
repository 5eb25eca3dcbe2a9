-- Moved in one statement: a row is in one of the two tables, whoever looks, and whoever dies. One whose id is in the
-- archive already stays where it is, that neither is lost; each is looked up by itself (OFFSET 0), not by a join.
WITH old AS (
    SELECT id FROM kathikon.finished_jobs f
    WHERE finished_at < clock_timestamp() - $1 * interval '1 second'
        AND NOT EXISTS (SELECT FROM kathikon.archived_jobs a WHERE a.id = f.id OFFSET 0)
    LIMIT $2
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM kathikon.finished_jobs WHERE id = ANY (ARRAY (SELECT id FROM old)) RETURNING *
)
INSERT INTO kathikon.archived_jobs SELECT * FROM gone
