-- A declared one stays as a sign that it is not wanted: the next node that declares it would bring it back.
WITH gone AS (DELETE FROM kathikon.crons WHERE name = $1 AND NOT removed AND NOT declared RETURNING name),
marked AS (
    UPDATE kathikon.crons SET removed = true, revision = revision + 1
    WHERE name = $1 AND NOT removed AND declared
    RETURNING name
)
SELECT name FROM gone UNION ALL SELECT name FROM marked
