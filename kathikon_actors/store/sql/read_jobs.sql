-- In plain types only, as insert_unowned: for connections with codecs of their own.
SELECT
    round(extract(epoch FROM j.inserted_at - '2000-01-01 00:00Z') * 1000000)::bigint,
    round(extract(epoch FROM j.scheduled_at - '2000-01-01 00:00Z') * 1000000)::bigint,
    round(extract(epoch FROM j.attempted_at - '2000-01-01 00:00Z') * 1000000)::bigint,
    round(extract(epoch FROM j.finished_at - '2000-01-01 00:00Z') * 1000000)::bigint,
    j.timeout, j.priority, j.max_attempts, j.attempt, j.progress, j.orphaned, j.keep_result, j.id::text, j.state,
    j.queue, j.worker, j.args::text, j.meta::text, j.tags, j.history, j.errors, j.result::text,
    j.rerun_of::text, j.original_id::text, j.unique_key::text, j.guarded, j.partition_key, j.depends_on::text[],
    j.on_dependency_failure, j.dependency_results, j.batch_id::text, j.parent_id::text,
    n.name AS node
FROM (
    SELECT * FROM kathikon.jobs WHERE id = ANY ($1::text[]::uuid[])
    UNION ALL
    SELECT * FROM kathikon.finished_jobs WHERE id = ANY ($1::text[]::uuid[])
    UNION ALL
    SELECT * FROM kathikon.archived_jobs WHERE id = ANY ($1::text[]::uuid[])
) AS j
LEFT JOIN kathikon.nodes n ON n.node_id = j.owner
