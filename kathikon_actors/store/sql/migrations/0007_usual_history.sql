-- The history of a job that was inserted, started once and completed is what its times say: it is not written.

COMMENT ON COLUMN kathikon.jobs.history IS
    'JSON arrays [microseconds since 1970, event, from, to, meta], joined by commas; empty while the times say it all.';
COMMENT ON COLUMN kathikon.finished_jobs.history IS
    'JSON arrays [microseconds since 1970, event, from, to, meta], joined by commas; empty while the times say it all.';

CREATE FUNCTION kathikon.microseconds(at timestamptz) RETURNS bigint
    LANGUAGE sql STABLE AS $$ SELECT round(extract(epoch FROM at)::numeric * 1000000)::bigint $$;

COMMENT ON FUNCTION kathikon.microseconds IS 'Since 1970: how history and errors write a time.';

CREATE FUNCTION kathikon.whole_history(
    history text, state text, inserted_at timestamptz, attempted_at timestamptz, finished_at timestamptz
) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN history <> '' THEN '[' || history || ']'
        WHEN state NOT IN ('available', 'executing', 'completed') THEN
            '[[' || kathikon.microseconds(inserted_at) || ',"inserted",null,"' || state || '"]]'
        ELSE
            '[[' || kathikon.microseconds(inserted_at) || ',"inserted",null,"available"]'
            || coalesce(',[' || kathikon.microseconds(attempted_at) || ',"started","available","executing"]', '')
            || CASE WHEN state = 'completed' THEN
                coalesce(',[' || kathikon.microseconds(finished_at) || ',"completed","executing","completed"]', '')
                ELSE '' END
            || ']'
    END::json
$$;

COMMENT ON FUNCTION kathikon.whole_history IS 'Every transition of a job, written out or not.';

CREATE OR REPLACE VIEW kathikon.all_jobs AS
    SELECT
        j.id, j.queue, j.worker, j.args, j.meta, coalesce(j.tags, '{}') AS tags, j.priority, j.state,
        j.attempt, j.max_attempts, j.timeout, j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at,
        kathikon.whole_history(j.history, j.state, j.inserted_at, j.attempted_at, j.finished_at) AS history,
        ('[' || j.errors || ']')::json AS errors,
        j.result, j.progress, j.orphaned, n.name AS node, j.rerun_of, j.original_id, j.unique_key, j.partition_key,
        coalesce(j.depends_on, '{}') AS depends_on,
        coalesce(j.on_dependency_failure, 'discard') AS on_dependency_failure,
        ('{' || coalesce(j.dependency_results, '') || '}')::json AS dependency_results, j.batch_id, j.parent_id
    FROM (SELECT * FROM kathikon.jobs UNION ALL SELECT * FROM kathikon.finished_jobs) j
    LEFT JOIN kathikon.nodes n ON n.node_id = j.owner;
