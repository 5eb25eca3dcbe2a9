-- Nodes, their fences, and the jobs.

CREATE TABLE kathikon.nodes (
    lease_until timestamptz NOT NULL,
    started_at timestamptz NOT NULL,
    left_at timestamptz,
    epoch bigint NOT NULL,
    node_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE
) WITH (fillfactor = 50);

COMMENT ON TABLE kathikon.nodes IS 'One row a node name. The epoch grows with every life of that name.';
COMMENT ON COLUMN kathikon.nodes.left_at IS 'When its last life left in order; null while it lives or after a crash.';

-- A commit updates its lane's row first and counts only if epoch and session are still its own. A new life sets the
-- epoch, a new connection the session: each waits for the commit in flight, and nothing earlier can commit after it.
CREATE TABLE kathikon.lanes (
    epoch bigint NOT NULL,
    session bigint NOT NULL DEFAULT 0,
    batch bigint NOT NULL DEFAULT 0,
    node_id integer NOT NULL REFERENCES kathikon.nodes,
    backend integer,
    lane smallint NOT NULL,
    PRIMARY KEY (node_id, lane)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE kathikon.lanes IS 'The fences of a node: lane 0 inserts, 1 outcomes, 2 claims.';
COMMENT ON COLUMN kathikon.lanes.batch IS 'The number of the last batch that this epoch committed.';

-- Columns go from wide to narrow, so that no byte is lost to alignment.
CREATE TABLE kathikon.jobs (
    inserted_at timestamptz NOT NULL,
    scheduled_at timestamptz NOT NULL,
    attempted_at timestamptz,
    finished_at timestamptz,
    timeout double precision NOT NULL DEFAULT 300,
    owner integer,
    priority integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL DEFAULT 3,
    attempt integer NOT NULL DEFAULT 0,
    progress smallint NOT NULL DEFAULT 0,
    orphaned smallint NOT NULL DEFAULT 0,
    keep_result boolean NOT NULL DEFAULT true,
    id uuid PRIMARY KEY,
    state text NOT NULL DEFAULT 'available',
    queue text NOT NULL,
    worker text NOT NULL,
    args json NOT NULL DEFAULT '{}',
    meta json NOT NULL DEFAULT '{}',
    tags text[],
    history text NOT NULL DEFAULT '',
    errors text NOT NULL DEFAULT '',
    result json
) WITH (
    fillfactor = 90,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 5000,
    autovacuum_analyze_scale_factor = 0.05,
    autovacuum_analyze_threshold = 5000
);

COMMENT ON TABLE kathikon.jobs IS 'The jobs that have not ended. Read kathikon.all_jobs for these and the ended ones.';
COMMENT ON COLUMN kathikon.jobs.owner IS 'The node_id that works on it; null when any node may claim it.';
COMMENT ON COLUMN kathikon.jobs.history IS 'JSON arrays [microseconds since 1970, event, from, to, meta], joined by commas.';
COMMENT ON COLUMN kathikon.jobs.errors IS 'JSON objects joined by commas.';

-- In the order in which they are claimed. Rows that wait for their time have an index of their own: a claim need
-- not step over a million of them.
CREATE INDEX jobs_ready ON kathikon.jobs (queue, priority DESC, scheduled_at, id)
    WHERE owner IS NULL AND state = 'available';
CREATE INDEX jobs_due ON kathikon.jobs (queue, scheduled_at)
    WHERE owner IS NULL AND state IN ('scheduled', 'retryable');

-- `owner` is the node that finished it.
CREATE TABLE kathikon.finished_jobs (LIKE kathikon.jobs INCLUDING DEFAULTS INCLUDING COMMENTS);
ALTER TABLE kathikon.finished_jobs ADD PRIMARY KEY (id);
CREATE INDEX finished_jobs_failed ON kathikon.finished_jobs (state, id) WHERE state <> 'completed';

COMMENT ON TABLE kathikon.finished_jobs IS 'The jobs that are completed, cancelled or discarded.';

CREATE VIEW kathikon.all_jobs AS
    SELECT
        j.id, j.queue, j.worker, j.args, j.meta, coalesce(j.tags, '{}') AS tags, j.priority, j.state,
        j.attempt, j.max_attempts, j.timeout, j.inserted_at, j.scheduled_at, j.attempted_at, j.finished_at,
        ('[' || j.history || ']')::json AS history, ('[' || j.errors || ']')::json AS errors,
        j.result, j.progress, j.orphaned, n.name AS node
    FROM (SELECT * FROM kathikon.jobs UNION ALL SELECT * FROM kathikon.finished_jobs) j
    LEFT JOIN kathikon.nodes n ON n.node_id = j.owner;

COMMENT ON VIEW kathikon.all_jobs IS 'Every job, live and finished, with history and errors as JSON.';
