-- Just inserted in this transaction, meant for whoever claims them.
WITH freed AS (
    UPDATE kathikon.jobs SET owner = NULL WHERE id = ANY ($2::uuid[]) AND owner = $1 RETURNING queue
),
names AS (SELECT string_agg(DISTINCT queue, ',') AS text FROM freed HAVING count(*) > 0)
SELECT pg_notify('kathikon_unowned', CASE WHEN length(text) < 7900 THEN text ELSE '' END) FROM names
