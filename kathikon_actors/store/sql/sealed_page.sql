-- A page of jobs by id, wherever they are; which of them are sealed is seen outside.
SELECT j.id, coalesce(j.original_id, j.id) AS bound, j.args, j.meta, j.result, j.errors, j.dependency_results
FROM (
    (SELECT id, original_id, args::text, meta::text, result::text, errors, dependency_results FROM kathikon.jobs
        WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2)
    UNION ALL
    (SELECT id, original_id, args::text, meta::text, result::text, errors, dependency_results FROM kathikon.finished_jobs
        WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2)
    UNION ALL
    (SELECT id, original_id, args::text, meta::text, result::text, errors, dependency_results FROM kathikon.archived_jobs
        WHERE $1::uuid IS NULL OR id > $1 ORDER BY id LIMIT $2)
) AS j
ORDER BY j.id
LIMIT $2
