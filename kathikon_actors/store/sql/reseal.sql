-- Only where it is as it was read: what a node wrote meanwhile is not lost.
WITH r AS (
    SELECT * FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[]
    ) AS r (id, args, meta, result, errors, dependency_results, old_args, old_result, old_errors)
),
live AS (
    UPDATE kathikon.jobs t
    SET args = r.args::json, meta = r.meta::json, result = r.result::json, errors = r.errors,
        dependency_results = r.dependency_results
    FROM r
    WHERE t.id = r.id AND t.args::text = r.old_args AND t.errors = r.old_errors
        AND t.result::text IS NOT DISTINCT FROM r.old_result
    RETURNING t.id
),
finished AS (
    UPDATE kathikon.finished_jobs t
    SET args = r.args::json, meta = r.meta::json, result = r.result::json, errors = r.errors,
        dependency_results = r.dependency_results
    FROM r
    WHERE t.id = r.id AND t.args::text = r.old_args AND t.errors = r.old_errors
        AND t.result::text IS NOT DISTINCT FROM r.old_result
    RETURNING t.id
),
archived AS (
    UPDATE kathikon.archived_jobs t
    SET args = r.args::json, meta = r.meta::json, result = r.result::json, errors = r.errors,
        dependency_results = r.dependency_results
    FROM r
    WHERE t.id = r.id AND t.args::text = r.old_args AND t.errors = r.old_errors
        AND t.result::text IS NOT DISTINCT FROM r.old_result
    RETURNING t.id
)
SELECT (SELECT count(*) FROM live) + (SELECT count(*) FROM finished) + (SELECT count(*) FROM archived)
