-- How many jobs a queue may hold, as the nodes that run it declare it: for programs that insert without a node.

CREATE TABLE kathikon.queue_limits (
    max_depth integer NOT NULL,
    queue text PRIMARY KEY,
    on_full text NOT NULL
);

COMMENT ON TABLE kathikon.queue_limits IS 'The bounds of queues, as a node declared them last; without a row there is none.';
COMMENT ON COLUMN kathikon.queue_limits.on_full IS 'refuse: inserts fail; hold: they are stored, and the lowest priority waits.';

-- Its settings lead to the index also where the table was small when it was last analyzed.
CREATE FUNCTION kathikon.queue_depth(queue text, most integer) RETURNS integer
LANGUAGE sql STABLE
SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
    SELECT count(*)::integer FROM (SELECT FROM kathikon.jobs j WHERE j.queue = $1 LIMIT $2) AS s
$$;

COMMENT ON FUNCTION kathikon.queue_depth IS 'How many jobs of a queue have not ended, counted up to a bound.';

CREATE OR REPLACE FUNCTION kathikon.insert_job(
    worker text,
    args json DEFAULT '{}',
    queue text DEFAULT 'default',
    priority integer DEFAULT 0,
    max_attempts integer DEFAULT 3,
    timeout double precision DEFAULT 300,
    schedule_in double precision DEFAULT NULL,
    schedule_at timestamptz DEFAULT NULL,
    tags text[] DEFAULT NULL,
    meta json DEFAULT '{}',
    id uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    new_id uuid := coalesce(insert_job.id, kathikon.new_id());
    at timestamptz := clock_timestamp();
    due timestamptz := greatest(
        coalesce(insert_job.schedule_at, clock_timestamp() + insert_job.schedule_in * interval '1 second'), at
    );
    bound integer;
    depth integer;
BEGIN
    IF coalesce(insert_job.worker, '') = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'worker is empty; give its name';
    ELSIF coalesce(insert_job.queue, '') !~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('queue "%s" is no name of a queue', insert_job.queue);
    ELSIF json_typeof(insert_job.args) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'args is no JSON object; give arguments by name';
    ELSIF json_typeof(insert_job.meta) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'meta is no JSON object';
    ELSIF NOT coalesce(insert_job.max_attempts >= 1, false) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'max_attempts is below 1';
    ELSIF NOT coalesce(insert_job.timeout > 0, false) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'timeout is not above 0';
    ELSIF insert_job.schedule_in IS NOT NULL AND insert_job.schedule_at IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'schedule_in and schedule_at are given together; give one';
    ELSIF EXISTS (SELECT FROM unnest(insert_job.tags) AS t (tag) WHERE coalesce(tag, '') = '') THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a tag is empty';
    ELSIF EXISTS (SELECT FROM kathikon.finished_jobs f WHERE f.id = new_id) THEN
        RAISE unique_violation USING MESSAGE = format('there is a job with id %s already', new_id);
    END IF;
    SELECT l.max_depth INTO bound FROM kathikon.queue_limits l WHERE l.queue = insert_job.queue AND l.on_full = 'refuse';
    IF FOUND THEN
        depth := kathikon.queue_depth(insert_job.queue, bound);
        IF depth >= bound THEN
            RAISE program_limit_exceeded USING MESSAGE = format(
                'queue "%s" holds %s jobs, its max_depth is %s; insert again later', insert_job.queue, depth, bound
            );
        END IF;
    END IF;
    INSERT INTO kathikon.jobs (
        inserted_at, scheduled_at, timeout, priority, max_attempts, id, state, queue, worker, args, meta, tags, history
    )
    VALUES (
        at, due, insert_job.timeout, coalesce(insert_job.priority, 0), insert_job.max_attempts, new_id,
        CASE WHEN due > at THEN 'scheduled' ELSE 'available' END, insert_job.queue, insert_job.worker, insert_job.args,
        insert_job.meta, nullif(insert_job.tags, '{}'),
        format(
            '[%s,"inserted",null,"%s"]', (extract(epoch FROM at) * 1000000)::bigint,
            CASE WHEN due > at THEN 'scheduled' ELSE 'available' END
        )
    );
    PERFORM pg_notify('kathikon_unowned', insert_job.queue);
    RETURN new_id;
END
$$;
