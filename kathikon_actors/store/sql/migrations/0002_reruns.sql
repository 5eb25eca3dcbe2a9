-- A job that an operator ran again, and the first one of such a chain.

ALTER TABLE kathikon.jobs ADD COLUMN rerun_of uuid, ADD COLUMN original_id uuid;
ALTER TABLE kathikon.finished_jobs ADD COLUMN rerun_of uuid, ADD COLUMN original_id uuid;

COMMENT ON COLUMN kathikon.jobs.rerun_of IS 'The job that this one repeats, by an operator''s wish.';
COMMENT ON COLUMN kathikon.jobs.original_id IS 'The first job of the chain that rerun_of leads back to.';
COMMENT ON COLUMN kathikon.finished_jobs.rerun_of IS 'The job that this one repeats, by an operator''s wish.';
COMMENT ON COLUMN kathikon.finished_jobs.original_id IS 'The first job of the chain that rerun_of leads back to.';

CREATE OR REPLACE VIEW kathikon.all_jobs AS
    SELECT
        j.id, j.queue, j.worker, j.args, j.meta, coalesce(j.tags, '{}') AS tags, j.priority, j.state,
        j.attempt, j.max_attempts, j.timeout, j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at,
        ('[' || j.history || ']')::json AS history, ('[' || j.errors || ']')::json AS errors,
        j.result, j.progress, j.orphaned, n.name AS node, j.rerun_of, j.original_id
    FROM (SELECT * FROM kathikon.jobs UNION ALL SELECT * FROM kathikon.finished_jobs) j
    LEFT JOIN kathikon.nodes n ON n.node_id = j.owner;
