-- Workers as nodes have declared them: by these, programs without their code insert by name.

CREATE TABLE kathikon.workers (
    declared_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    name text PRIMARY KEY,
    declaration jsonb NOT NULL
);

COMMENT ON TABLE kathikon.workers IS 'What workers declare of their jobs, for inserts by name; the node that started last has said it.';
COMMENT ON COLUMN kathikon.workers.declaration IS
    'What is left out: priority 0, no tags, durability commit, not unique, not encrypted, no end of the timeout.';

CREATE TABLE kathikon.node_workers (
    declared_at timestamptz NOT NULL,
    node_id integer PRIMARY KEY REFERENCES kathikon.nodes ON DELETE CASCADE,
    workers text[] NOT NULL
);

COMMENT ON TABLE kathikon.node_workers IS 'The workers that each node has, as it said itself when it started.';

-- Only this and withdraw_workers write these tables, one at a time: what one withdraws another may be declaring.
-- A life that goes on after it lost its lease (starts is false) adds what is missing, over nothing that is newer.
CREATE FUNCTION kathikon.declare_workers(node integer, life bigint, names text[], declarations text[], starts boolean)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1801549928, -1);
    IF NOT EXISTS (SELECT FROM kathikon.lanes l WHERE l.node_id = node AND l.lane = 2 AND l.epoch = life) THEN
        RETURN;
    END IF;
    INSERT INTO kathikon.workers AS w (name, declaration)
    SELECT r.name, r.declaration::jsonb
    FROM unnest(names, declarations) AS r (name, declaration) LEFT JOIN kathikon.workers k ON k.name = r.name
    WHERE k.name IS NULL OR (starts AND k.declaration <> r.declaration::jsonb)
    ON CONFLICT (name) DO UPDATE SET declared_at = excluded.declared_at, declaration = excluded.declaration;
    INSERT INTO kathikon.node_workers AS n (declared_at, node_id, workers) VALUES (clock_timestamp(), node, names)
    ON CONFLICT (node_id) DO UPDATE
    SET declared_at = CASE WHEN starts THEN excluded.declared_at ELSE n.declared_at END, workers = excluded.workers;
    PERFORM kathikon.withdraw_workers();
    DELETE FROM kathikon.workers
    WHERE NOT name IN (SELECT one FROM kathikon.node_workers n, unnest(n.workers) AS u (one));
END
$$;

-- What a node that is gone had counts no more when a node that lives, started later and has one of its workers too (it is
-- a newer app of the same kind), or after 30 days.
CREATE FUNCTION kathikon.withdraw_workers() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1801549928, -1);
    DELETE FROM kathikon.node_workers d USING kathikon.nodes gone
    WHERE gone.node_id = d.node_id AND (gone.left_at IS NOT NULL OR gone.lease_until <= clock_timestamp())
        AND (
            gone.lease_until < clock_timestamp() - interval '30 days'
            OR EXISTS (
                SELECT FROM kathikon.node_workers m JOIN kathikon.nodes n ON n.node_id = m.node_id
                WHERE n.left_at IS NULL AND n.lease_until > clock_timestamp()
                    AND m.declared_at > d.declared_at AND m.workers && d.workers
            )
        );
    IF FOUND THEN
        DELETE FROM kathikon.workers
        WHERE NOT name IN (SELECT one FROM kathikon.node_workers n, unnest(n.workers) AS u (one));
    END IF;
END
$$;

-- Why these arguments are not those of a worker, in the words of a call in Python; null when they fit.
CREATE FUNCTION kathikon.misfit(declaration jsonb, args json) RETURNS text LANGUAGE plpgsql STABLE STRICT AS $$
DECLARE
    called jsonb := coalesce(declaration -> 'parameters', '{}');
    names jsonb := coalesce(called -> 'names', '[]');
    required jsonb := coalesce(called -> 'required', '[]');
    takes_any boolean := coalesce((called ->> 'any_name')::boolean, false);
    problem text;
BEGIN
    SELECT format('missing a required argument: ''%s''', r.name) INTO problem
    FROM jsonb_array_elements_text(required) WITH ORDINALITY AS r (name, place)
    WHERE args -> r.name IS NULL ORDER BY r.place LIMIT 1;
    IF problem IS NULL AND NOT takes_any THEN
        SELECT format('got an unexpected keyword argument ''%s''', g.name) INTO problem
        FROM json_object_keys(args) WITH ORDINALITY AS g (name, place)
        WHERE NOT names ? g.name ORDER BY g.place LIMIT 1;
    END IF;
    IF problem IS NULL THEN
        SELECT format('''%s'' is given by the queue, not by the caller', t.name) INTO problem
        FROM jsonb_array_elements_text(coalesce(called -> 'taken', '[]')) AS t (name)
        WHERE args -> t.name IS NOT NULL LIMIT 1;
    END IF;
    IF problem IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN (
        SELECT format('%s(%s): %s', declaration ->> 'name', string_agg(shown, ', ' ORDER BY place), problem)
        FROM (
            SELECT CASE WHEN required ? n.name THEN n.name ELSE n.name || '=...' END, n.place
            FROM jsonb_array_elements_text(names) WITH ORDINALITY AS n (name, place)
            UNION ALL SELECT '**kwargs', NULL WHERE takes_any
        ) AS s (shown, place)
    );
END
$$;

-- The worker that shares most pairs of letters with a name that is none, if that is half of them.
CREATE FUNCTION kathikon.nearest_worker(wrong text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT w.name
    FROM kathikon.workers w,
        LATERAL (
            SELECT 2.0 * count(*) / nullif(length(w.name) + length(wrong) - 2, 0) AS likeness
            FROM (
                SELECT lower(substr(w.name, g, 2)) FROM generate_series(1, length(w.name) - 1) AS g
                INTERSECT ALL
                SELECT lower(substr(wrong, g, 2)) FROM generate_series(1, length(wrong) - 1) AS g
            ) AS pairs
        ) AS l
    WHERE l.likeness >= 0.5
    ORDER BY l.likeness DESC, w.name LIMIT 1
$$;

DROP FUNCTION kathikon.insert_job;

CREATE FUNCTION kathikon.insert_job(
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
    due timestamptz := greatest(
        coalesce(insert_job.schedule_at, clock_timestamp() + insert_job.schedule_in * interval '1 second'), at
    );
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
    ELSIF insert_job.schedule_in IS NOT NULL AND insert_job.schedule_at IS NOT NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'schedule_in and schedule_at are given together; give one';
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
    ELSIF EXISTS (SELECT FROM kathikon.finished_jobs f WHERE f.id = new_id) THEN
        RAISE unique_violation USING MESSAGE = format('there is a job with id %s already', new_id);
    END IF;
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
    PERFORM pg_notify('kathikon_unowned', at_queue);
    RETURN new_id;
END
$$;

COMMENT ON FUNCTION kathikon.insert_job IS
    'Inserts a job from any language, as a part of the transaction; gives its id. What is not given is as the worker declares; unique is not applied. Times in seconds.';
