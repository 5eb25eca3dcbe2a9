-- As purge_meeting; gives the first ones by name and the others as numbers.
WITH gone AS (
    DELETE FROM kathikon.finished_jobs
    WHERE /* meets */
    RETURNING id, worker, queue, attempt, state
),
numbered AS (SELECT *, row_number() OVER () AS place FROM gone)
SELECT
    (SELECT count(*) FROM gone) AS number,
    (SELECT json_agg(json_build_array(id, worker, queue, attempt, state)) FROM numbered WHERE place <= $9) AS named,
    (
        SELECT json_agg(json_build_array(worker, queue, state, number))
        FROM (SELECT worker, queue, state, count(*) AS number FROM numbered WHERE place > $9 GROUP BY 1, 2, 3) AS kinds
    ) AS more
