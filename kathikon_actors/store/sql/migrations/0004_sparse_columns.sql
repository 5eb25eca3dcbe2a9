-- What only some jobs have: a unique key, a partition, jobs that they wait for, a batch, a parent.

ALTER TABLE kathikon.jobs
    ADD COLUMN unique_key uuid, ADD COLUMN guarded integer, ADD COLUMN partition_key text, ADD COLUMN depends_on uuid[],
    ADD COLUMN on_dependency_failure text, ADD COLUMN dependency_results text, ADD COLUMN batch_id uuid,
    ADD COLUMN parent_id uuid;
ALTER TABLE kathikon.finished_jobs
    ADD COLUMN unique_key uuid, ADD COLUMN guarded integer, ADD COLUMN partition_key text, ADD COLUMN depends_on uuid[],
    ADD COLUMN on_dependency_failure text, ADD COLUMN dependency_results text, ADD COLUMN batch_id uuid,
    ADD COLUMN parent_id uuid;

COMMENT ON COLUMN kathikon.jobs.unique_key IS 'A hash; kathikon.unique_keys says which job holds it.';
COMMENT ON COLUMN kathikon.jobs.guarded IS 'How often others changed it; null for a job whose start need not be committed first.';
COMMENT ON COLUMN kathikon.jobs.on_dependency_failure IS 'Null for discard: it is cancelled when a parent fails.';
COMMENT ON COLUMN kathikon.jobs.dependency_results IS 'JSON members "id":result, joined by commas.';
COMMENT ON COLUMN kathikon.jobs.parent_id IS 'The job that inserted it while it ran.';

-- Listing the children of a batch or of a job is an index look-up; a plain job is in none of these.
CREATE INDEX jobs_batch ON kathikon.jobs (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX finished_jobs_batch ON kathikon.finished_jobs (batch_id, id) WHERE batch_id IS NOT NULL;
CREATE INDEX jobs_parent ON kathikon.jobs (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX finished_jobs_parent ON kathikon.finished_jobs (parent_id, id) WHERE parent_id IS NOT NULL;

CREATE OR REPLACE VIEW kathikon.all_jobs AS
    SELECT
        j.id, j.queue, j.worker, j.args, j.meta, coalesce(j.tags, '{}') AS tags, j.priority, j.state,
        j.attempt, j.max_attempts, j.timeout, j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at,
        ('[' || j.history || ']')::json AS history, ('[' || j.errors || ']')::json AS errors,
        j.result, j.progress, j.orphaned, n.name AS node, j.rerun_of, j.original_id, j.unique_key, j.partition_key,
        coalesce(j.depends_on, '{}') AS depends_on,
        coalesce(j.on_dependency_failure, 'discard') AS on_dependency_failure,
        ('{' || coalesce(j.dependency_results, '') || '}')::json AS dependency_results, j.batch_id, j.parent_id
    FROM (SELECT * FROM kathikon.jobs UNION ALL SELECT * FROM kathikon.finished_jobs) j
    LEFT JOIN kathikon.nodes n ON n.node_id = j.owner;
