-- An id is one job's for ever: also that of one that has ended, or is archived, is not given again.

-- Which of these ids have jobs that have ended? Asked after rows with them were stored: from then on none of these ids
-- can come to an end unseen. Under READ COMMITTED each statement here sees what was committed until then. A transaction
-- whose snapshot stands still sees such jobs only by the primary keys: it tries to store the ids, and takes that back.
CREATE FUNCTION kathikon.ended_ids(ids uuid[]) RETURNS uuid[] LANGUAGE plpgsql AS $$
DECLARE
    taken uuid[] := ARRAY (
        SELECT f.id FROM kathikon.finished_jobs f WHERE f.id = ANY (ids)
        UNION ALL SELECT a.id FROM kathikon.archived_jobs a WHERE a.id = ANY (ids)
    );
    told text;
BEGIN
    IF current_setting('transaction_isolation') IN ('read committed', 'read uncommitted') THEN
        RETURN taken;
    END IF;
    LOOP
        BEGIN
            INSERT INTO kathikon.finished_jobs (
                inserted_at, scheduled_at, timeout, priority, max_attempts, id, state, queue, worker, args
            )
            SELECT now(), now(), 1, 0, 1, r.id, 'cancelled', 'default', '', '{}'
            FROM unnest(ids) AS r (id) WHERE NOT r.id = ANY (taken);
            INSERT INTO kathikon.archived_jobs (
                inserted_at, scheduled_at, timeout, priority, max_attempts, id, state, queue, worker, args
            )
            SELECT now(), now(), 1, 0, 1, r.id, 'cancelled', 'default', '', '{}'
            FROM unnest(ids) AS r (id) WHERE NOT r.id = ANY (taken);
            RAISE EXCEPTION 'none of them is taken' USING ERRCODE = 'KA000';
        EXCEPTION
            WHEN unique_violation THEN
                GET STACKED DIAGNOSTICS told = PG_EXCEPTION_DETAIL;
                told := substring(told FROM '=\(([0-9a-f-]{36})\)');
                IF told IS NULL THEN
                    RAISE;
                END IF;
                taken := taken || told::uuid;
            WHEN SQLSTATE 'KA000' THEN
                RETURN taken;
        END;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION kathikon.insert_job(
    worker text,
    args json DEFAULT '{}',
    queue text DEFAULT NULL,
    priority integer DEFAULT NULL,
    max_attempts integer DEFAULT NULL,
    timeout double precision DEFAULT NULL,
    schedule_in double precision DEFAULT NULL,
    schedule_at timestamptz DEFAULT NULL,
    tags text[] DEFAULT NULL,
    meta json DEFAULT '{}',
    id uuid DEFAULT NULL,
    durability text DEFAULT NULL,
    encrypt boolean DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql
AS $$
#variable_conflict use_column
DECLARE
    new_id uuid := coalesce(insert_job.id, kathikon.new_id());
    said jsonb := (SELECT w.declaration FROM kathikon.workers w WHERE w.name = insert_job.worker);
    at_queue text := coalesce(insert_job.queue, said ->> 'queue', 'default');
    attempts integer := coalesce(insert_job.max_attempts, (said ->> 'max_attempts')::integer, 3);
    seconds double precision := coalesce(
        insert_job.timeout, CASE WHEN said IS NULL THEN 300 ELSE coalesce((said ->> 'timeout')::double precision, 'infinity') END
    );
    labels text[] := coalesce(
        insert_job.tags, ARRAY (SELECT t.tag FROM jsonb_array_elements_text(said -> 'tags') AS t (tag))
    );
    kept text := coalesce(insert_job.durability, said ->> 'durability', 'commit');
    secret boolean := coalesce(insert_job.encrypt, coalesce(said ->> 'encrypt', 'false') <> 'false');
    at timestamptz := clock_timestamp();
    due timestamptz := at;
    latest timestamptz := '9999-12-31 00:00Z';  -- what every program can read
    problem text;
    bound integer;
    depth integer;
BEGIN
    IF coalesce(insert_job.worker, '') = '' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'worker is empty; give its name';
    ELSIF said IS NULL AND insert_job.queue IS NULL AND EXISTS (SELECT FROM kathikon.workers) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'no worker "%s" (known: %s).%s', insert_job.worker,
            (SELECT string_agg(n.name, ', ') FROM (SELECT w.name FROM kathikon.workers w ORDER BY w.name LIMIT 20) AS n),
            coalesce(
                ' Did you mean "' || kathikon.nearest_worker(insert_job.worker) || '"?',
                ' Give its queue if its code is deployed later.'
            )
        );
    ELSIF at_queue !~ '^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$' THEN
        RAISE invalid_parameter_value USING MESSAGE = format('queue "%s" is no name of a queue', at_queue);
    ELSIF json_typeof(insert_job.args) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'args is no JSON object; give arguments by name';
    ELSIF json_typeof(insert_job.meta) IS DISTINCT FROM 'object' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'meta is no JSON object';
    ELSIF attempts < 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'max_attempts is below 1';
    ELSIF NOT seconds > 0 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'timeout is not above 0';
    ELSIF seconds = 'NaN' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'timeout is NaN; give seconds above 0';
    ELSIF insert_job.schedule_in IS NOT NULL AND insert_job.schedule_at IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'schedule_in and schedule_at are given together; give one';
    ELSIF insert_job.schedule_at >= latest THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'schedule_at is %s; give a time before the end of the year 9999', insert_job.schedule_at
        );
    ELSIF abs(insert_job.schedule_in) >= extract(epoch FROM latest - at) THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'schedule_in is %s; give seconds, until before the end of the year 9999', insert_job.schedule_in
        );
    ELSIF array_ndims(labels) > 1 THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'tags is an array of %s dimensions; give a plain one', array_ndims(labels)
        );
    ELSIF EXISTS (SELECT FROM unnest(labels) AS t (tag) WHERE coalesce(tag, '') = '') THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a tag is empty';
    ELSIF kept NOT IN ('commit', 'snapshot', 'memory') THEN
        RAISE invalid_parameter_value USING MESSAGE = format('durability is "%s"; give "commit"', kept);
    ELSIF kept = 'memory' THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'durability of %s is "memory", which needs a node to hold it; give "commit" here', insert_job.worker
        );
    ELSIF secret THEN
        RAISE invalid_parameter_value USING MESSAGE = format(
            'jobs of %s are encrypted, which SQL cannot do; insert with a client that has the keys, or give encrypt => false',
            insert_job.worker
        );
    END IF;
    -- What jsonb does not hold (the character U+0000, numbers without measure) would fail every filter that meets the row.
    PERFORM insert_job.args::jsonb, insert_job.meta::jsonb;
    due := greatest(coalesce(insert_job.schedule_at, at + insert_job.schedule_in * interval '1 second'), at);
    problem := kathikon.misfit(said, insert_job.args);
    IF problem IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = problem;
    END IF;
    SELECT l.max_depth INTO bound FROM kathikon.queue_limits l WHERE l.queue = at_queue AND l.on_full = 'refuse';
    IF FOUND THEN
        depth := kathikon.queue_depth(at_queue, bound);
        IF depth >= bound THEN
            RAISE program_limit_exceeded USING MESSAGE = format(
                'queue "%s" holds %s jobs, its max_depth is %s; insert again later', at_queue, depth, bound
            );
        END IF;
    END IF;
    INSERT INTO kathikon.jobs (
        inserted_at, scheduled_at, timeout, priority, max_attempts, id, state, queue, worker, args, meta, tags, history
    )
    VALUES (
        at, due, seconds, coalesce(insert_job.priority, (said ->> 'priority')::integer, 0), attempts, new_id,
        CASE WHEN due > at THEN 'scheduled' ELSE 'available' END, at_queue, insert_job.worker, insert_job.args,
        insert_job.meta, nullif(labels, '{}'),
        format(
            '[%s,"inserted",null,"%s"]', (extract(epoch FROM at) * 1000000)::bigint,
            CASE WHEN due > at THEN 'scheduled' ELSE 'available' END
        )
    );
    -- Afterwards: a job of this id may have come to its end until then.
    IF insert_job.id IS NOT NULL AND cardinality(kathikon.ended_ids(ARRAY[new_id])) > 0 THEN
        RAISE unique_violation USING MESSAGE = format('there is a job with id %s already', new_id);
    END IF;
    PERFORM pg_notify('kathikon_unowned', at_queue);
    RETURN new_id;
END
$$;
