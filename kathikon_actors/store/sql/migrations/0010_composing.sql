-- Unique keys, dependencies and batches. What the end of a job means for other jobs happens in the transaction that
-- moves it to finished_jobs: a trigger sees to it, whoever moves it there.

CREATE TABLE kathikon.unique_keys (
    expires_at timestamptz,
    again_at timestamptz,
    revision integer NOT NULL DEFAULT 0,
    key uuid PRIMARY KEY,
    job_id uuid NOT NULL,
    begun boolean NOT NULL DEFAULT false,
    states text[]
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);

COMMENT ON TABLE kathikon.unique_keys IS 'Which job holds a unique key. The primary key is what makes it unique.';
COMMENT ON COLUMN kathikon.unique_keys.states IS 'In which it holds the key; null for every state but the terminal ones.';
COMMENT ON COLUMN kathikon.unique_keys.begun IS 'Its start is committed: nobody changes it any more.';
COMMENT ON COLUMN kathikon.unique_keys.again_at IS 'Wanted once more while it ran: when the next run is due.';

-- Only what is not resolved: a row goes when its parent ends.
CREATE TABLE kathikon.dependencies (
    parent_id uuid NOT NULL,
    child_id uuid NOT NULL,
    PRIMARY KEY (parent_id, child_id)
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000);
CREATE INDEX dependencies_child ON kathikon.dependencies (child_id);

CREATE TABLE kathikon.batches (
    opened_at timestamptz NOT NULL,
    sealed_at timestamptz,
    total bigint NOT NULL DEFAULT 0,
    needed bigint,
    id uuid PRIMARY KEY,
    parent_id uuid,
    outer_id uuid,
    name text,
    on_complete json,
    on_success json,
    on_failure json
) WITH (fillfactor = 50);
CREATE INDEX batches_parent ON kathikon.batches (parent_id) WHERE parent_id IS NOT NULL;

COMMENT ON COLUMN kathikon.batches.needed IS 'How many children must complete; null for all.';
COMMENT ON COLUMN kathikon.batches.parent_id IS 'The job that opened it while it ran, and ends when it is resolved.';
COMMENT ON COLUMN kathikon.batches.outer_id IS 'The batch that it counts in as one child.';

-- Apart from batches, so that children end while others are still appended.
CREATE TABLE kathikon.batch_counts (
    id uuid PRIMARY KEY,
    resolved_at timestamptz,
    completed bigint NOT NULL DEFAULT 0,
    cancelled bigint NOT NULL DEFAULT 0,
    discarded bigint NOT NULL DEFAULT 0,
    succeeded boolean
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 1000);

CREATE VIEW kathikon.all_batches AS
    SELECT
        b.id, b.name, b.opened_at, b.sealed_at, c.resolved_at, c.succeeded, b.total, c.completed, c.cancelled,
        c.discarded, b.needed, b.parent_id, b.outer_id, b.on_complete, b.on_success, b.on_failure
    FROM kathikon.batches b JOIN kathikon.batch_counts c ON c.id = b.id;

-- The owner of rows that become ready: the node whose session this is, if it runs the queue; else nobody.
CREATE FUNCTION kathikon.home(queue text) RETURNS integer LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN queue = ANY (string_to_array(current_setting('kathikon.queues', true), E'\n'))
        THEN nullif(current_setting('kathikon.node', true), '')::integer END
$$;

-- UUIDv7.
CREATE FUNCTION kathikon.new_id() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(r, 14))::uuid
    FROM replace(gen_random_uuid()::text, '-', '') AS r
$$;

-- One line of history.
CREATE FUNCTION kathikon.line(event text, old text, new text, reason text DEFAULT NULL) RETURNS text
LANGUAGE sql VOLATILE AS $$
    SELECT format('[%s,%s,%s,%s', (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, to_json(event),
        coalesce(to_json(old)::text, 'null'), to_json(new))
        || coalesce(',' || json_build_object('reason', reason), '') || ']'
$$;

-- Tell of rows that became ready: this session's node of its own ones, the listeners of the others.
CREATE FUNCTION kathikon.tell_ready(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mine text;
    queues text;
BEGIN
    SELECT string_agg(id::text, ',') FILTER (WHERE owner IS NOT NULL),
        string_agg(DISTINCT queue, ',') FILTER (WHERE owner IS NULL)
    INTO mine, queues FROM kathikon.jobs WHERE id = ANY (ids);
    IF mine IS NOT NULL THEN
        RAISE NOTICE USING MESSAGE = 'kathikon_ready ' || mine;
    END IF;
    IF queues IS NOT NULL THEN
        PERFORM pg_notify('kathikon_unowned', CASE WHEN length(queues) < 7900 THEN queues ELSE '' END);
    END IF;
END
$$;

-- Children of a batch ended (or, with negative numbers, were put back).
CREATE FUNCTION kathikon.count_children(batch uuid, done bigint, gone bigint, dead bigint) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE kathikon.batch_counts
    SET completed = completed + done, cancelled = cancelled + gone, discarded = discarded + dead
    WHERE id = batch;
    PERFORM kathikon.resolve_batch(batch);
END
$$;

-- End a batch whose last child has ended, exactly once: insert its callback, end the job that waits for it.
CREATE FUNCTION kathikon.resolve_batch(batch uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    counts kathikon.batch_counts;
    b kathikon.batches;
    success boolean;
    callback json;
    made uuid;
BEGIN
    SELECT * INTO counts FROM kathikon.batch_counts WHERE id = batch FOR UPDATE;
    IF NOT FOUND OR counts.resolved_at IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT * INTO b FROM kathikon.batches WHERE id = batch;
    IF b.sealed_at IS NULL OR counts.completed + counts.cancelled + counts.discarded < b.total THEN
        RETURN;
    END IF;
    success := CASE WHEN b.needed IS NULL THEN counts.cancelled + counts.discarded = 0
        ELSE counts.completed >= b.needed END;
    UPDATE kathikon.batch_counts SET resolved_at = clock_timestamp(), succeeded = success WHERE id = batch;
    callback := CASE WHEN success THEN coalesce(b.on_success, b.on_complete)
        ELSE coalesce(b.on_failure, b.on_complete) END;
    IF callback IS NOT NULL THEN
        made := kathikon.new_id();
        INSERT INTO kathikon.jobs (
            inserted_at, scheduled_at, timeout, owner, priority, max_attempts, keep_result, id, state, queue, worker,
            args, meta, tags, history, original_id
        )
        SELECT
            clock_timestamp(), clock_timestamp(), (callback ->> 'timeout')::double precision,
            kathikon.home(callback ->> 'queue'), (callback ->> 'priority')::integer,
            (callback ->> 'max_attempts')::integer, (callback ->> 'keep_result')::boolean, made, 'available',
            callback ->> 'queue', callback ->> 'worker', callback -> 'args',
            ((callback -> 'meta')::jsonb || jsonb_build_object('batch', jsonb_build_object(
                'id', b.id, 'name', b.name, 'state', CASE WHEN success THEN 'succeeded' ELSE 'failed' END,
                'total', b.total, 'completed', counts.completed, 'cancelled', counts.cancelled,
                'discarded', counts.discarded
            )))::json,
            nullif(ARRAY (SELECT json_array_elements_text(callback -> 'tags')), '{}'),
            kathikon.line('inserted', NULL, 'available'), (callback ->> 'bound')::uuid;
        PERFORM kathikon.tell_ready(ARRAY[made]);
    END IF;
    IF b.outer_id IS NOT NULL THEN
        PERFORM kathikon.count_children(b.outer_id, success::integer, 0, (NOT success)::integer);
    END IF;
    IF b.parent_id IS NOT NULL THEN
        PERFORM kathikon.end_waiting(b.parent_id);
    END IF;
END
$$;

-- A job waits for its batches: it ends with the last of them.
CREATE FUNCTION kathikon.end_waiting(job uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    success boolean;
BEGIN
    PERFORM FROM kathikon.jobs WHERE id = job AND state = 'waiting' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT bool_and(c.succeeded) INTO success
    FROM kathikon.batches b JOIN kathikon.batch_counts c ON c.id = b.id
    WHERE b.parent_id = job
    HAVING bool_and(c.resolved_at IS NOT NULL);
    IF NOT FOUND THEN
        RETURN;
    END IF;
    WITH gone AS (DELETE FROM kathikon.jobs WHERE id = job RETURNING *)
    INSERT INTO kathikon.finished_jobs (
        inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result, rerun_of,
        original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
        batch_id, parent_id
    )
    SELECT
        inserted_at, scheduled_at, attempted_at, clock_timestamp(), timeout, priority, max_attempts, attempt,
        CASE WHEN success THEN 100 ELSE progress END, orphaned, keep_result, id,
        CASE WHEN success THEN 'completed' ELSE 'discarded' END, queue, worker, args, meta, tags,
        history || ',' || CASE WHEN success THEN kathikon.line('completed', 'waiting', 'completed')
            ELSE kathikon.line('discarded', 'waiting', 'discarded', 'its batch failed') END,
        errors, result, rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure,
        dependency_results, batch_id, parent_id
    FROM gone;
END
$$;

-- Jobs whose perform has ended wait for their batches; those whose batches are resolved end at once. The node that
-- ran them lets go of them.
CREATE FUNCTION kathikon.begin_waiting(waiting uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
BEGIN
    UPDATE kathikon.jobs SET owner = NULL WHERE id = ANY (waiting) AND state = 'waiting';
    DELETE FROM kathikon.unique_keys k USING kathikon.jobs j
    WHERE j.id = ANY (waiting) AND k.key = j.unique_key AND k.job_id = j.id
        AND NOT 'waiting' = ANY (coalesce(k.states, '{}'));
    PERFORM kathikon.seal_batches(waiting);
    FOREACH one IN ARRAY waiting LOOP
        PERFORM kathikon.end_waiting(one);
    END LOOP;
END
$$;

-- The batches of these jobs take no more children.
CREATE FUNCTION kathikon.seal_batches(parents uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
BEGIN
    FOR one IN
        UPDATE kathikon.batches SET sealed_at = clock_timestamp()
        WHERE parent_id = ANY (parents) AND sealed_at IS NULL
        RETURNING id
    LOOP
        PERFORM kathikon.resolve_batch(one);
    END LOOP;
END
$$;

-- Jobs that hold a key are about to start: from here on nobody changes them. Gives those that may.
CREATE FUNCTION kathikon.begin_guarded(node integer, ids uuid[], keys uuid[], revisions integer[]) RETURNS SETOF uuid
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM kathikon.unique_keys WHERE key = ANY (keys) ORDER BY key FOR UPDATE;
    UPDATE kathikon.unique_keys k SET begun = true
    FROM unnest(ids, keys, revisions) AS r (id, key, revision)
    WHERE k.key = r.key AND k.job_id = r.id AND k.revision = r.revision;
    DELETE FROM kathikon.unique_keys k
    USING unnest(ids, keys) AS r (id, key)
    WHERE k.key = r.key AND k.job_id = r.id AND k.begun AND NOT 'executing' = ANY (coalesce(k.states, '{executing}'));
    RETURN QUERY SELECT j.id
    FROM unnest(ids, revisions) AS r (id, revision) JOIN kathikon.jobs j ON j.id = r.id
    WHERE j.owner = node AND j.guarded = r.revision;
END
$$;

-- Jobs that hold keys came into other states without ending: those that hold none there let go of it.
CREATE FUNCTION kathikon.release_keys(ids uuid[]) RETURNS void LANGUAGE sql AS $$
    DELETE FROM kathikon.unique_keys k USING kathikon.jobs j
    WHERE j.id = ANY (ids) AND k.key = j.unique_key AND k.job_id = j.id AND k.states IS NOT NULL
        AND NOT j.state = ANY (k.states)
$$;

-- What they wait for has failed.
CREATE FUNCTION kathikon.cancel_blocked(ids uuid[]) RETURNS void LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM kathikon.jobs WHERE id = ANY (ids) AND state = 'blocked' RETURNING *)
    INSERT INTO kathikon.finished_jobs (
        inserted_at, scheduled_at, attempted_at, finished_at, timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, id, state, queue, worker, args, meta, tags, history, errors, result, rerun_of,
        original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure, dependency_results,
        batch_id, parent_id
    )
    SELECT
        inserted_at, scheduled_at, attempted_at, clock_timestamp(), timeout, priority, max_attempts, attempt, progress,
        orphaned, keep_result, id, 'cancelled', queue, worker, args, meta, tags,
        history || ',' || kathikon.line('cancelled', 'blocked', 'cancelled', 'a job that it depends on failed'),
        errors, result, rerun_of, original_id, unique_key, guarded, partition_key, depends_on, on_dependency_failure,
        dependency_results, batch_id, parent_id
    FROM gone
$$;

-- Jobs have ended.
CREATE FUNCTION kathikon.after_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    keyed boolean;
    batched boolean;
    touched uuid[];
    doomed uuid[];
    ready uuid[];
    one record;
    made uuid;
BEGIN
    SELECT bool_or(unique_key IS NOT NULL), bool_or(batch_id IS NOT NULL) INTO keyed, batched FROM ended;

    IF keyed THEN
        -- In the order of their keys, as inserts take them.
        DELETE FROM kathikon.unique_keys k
        USING (SELECT unique_key, id, state FROM ended WHERE unique_key IS NOT NULL ORDER BY unique_key) e
        WHERE k.key = e.unique_key AND k.job_id = e.id AND k.again_at IS NULL
            AND NOT e.state = ANY (coalesce(k.states, '{}'));
        FOR one IN
            SELECT e.*, k.again_at FROM ended e JOIN kathikon.unique_keys k ON k.key = e.unique_key AND k.job_id = e.id
            WHERE k.again_at IS NOT NULL
        LOOP
            made := kathikon.new_id();
            INSERT INTO kathikon.jobs (
                inserted_at, scheduled_at, timeout, owner, priority, max_attempts, keep_result, id, state, queue,
                worker, args, meta, tags, history, original_id, unique_key, guarded, partition_key, parent_id
            )
            VALUES (
                clock_timestamp(), one.again_at, one.timeout, kathikon.home(one.queue), one.priority,
                one.max_attempts, one.keep_result, made, 'scheduled', one.queue, one.worker, one.args, one.meta,
                one.tags, kathikon.line('inserted', NULL, 'scheduled', 'wanted again while it ran'),
                coalesce(one.original_id, one.id), one.unique_key, 0, one.partition_key, one.parent_id
            );
            UPDATE kathikon.unique_keys
            SET job_id = made, again_at = NULL, begun = false, revision = 0, expires_at = NULL
            WHERE key = one.unique_key;
            PERFORM kathikon.tell_ready(ARRAY[made]);
        END LOOP;
    END IF;

    IF EXISTS (SELECT FROM kathikon.dependencies) THEN
        DELETE FROM kathikon.dependencies d USING ended e WHERE d.child_id = e.id;
        touched := ARRAY (
            SELECT DISTINCT d.child_id FROM ended e JOIN kathikon.dependencies d ON d.parent_id = e.id
        );
    END IF;
    IF cardinality(touched) > 0 THEN
        -- Everything that waits for a failed one, and for what that takes with it.
        doomed := ARRAY (
            WITH RECURSIVE doomed (id) AS (
                SELECT d.child_id
                FROM ended e
                JOIN kathikon.dependencies d ON d.parent_id = e.id
                JOIN kathikon.jobs j ON j.id = d.child_id
                WHERE e.state <> 'completed' AND j.state = 'blocked' AND j.on_dependency_failure IS NULL
                UNION
                SELECT d.child_id
                FROM doomed x
                JOIN kathikon.dependencies d ON d.parent_id = x.id
                JOIN kathikon.jobs j ON j.id = d.child_id
                WHERE j.state = 'blocked' AND j.on_dependency_failure IS NULL
            )
            SELECT id FROM doomed
        );
        -- In one order everywhere; who else ends a parent of one of these waits, and then sees what we did.
        PERFORM FROM kathikon.jobs WHERE id = ANY (touched || doomed) ORDER BY id FOR UPDATE;
        UPDATE kathikon.jobs j
        SET dependency_results = concat_ws(',', j.dependency_results, r.members)
        FROM (
            SELECT d.child_id, string_agg('"' || e.id || '":' || e.result, ',' ORDER BY e.id) AS members
            FROM ended e JOIN kathikon.dependencies d ON d.parent_id = e.id
            WHERE e.state = 'completed' AND e.result IS NOT NULL
            GROUP BY d.child_id
        ) AS r
        WHERE j.id = r.child_id AND j.state = 'blocked';
        DELETE FROM kathikon.dependencies d USING ended e WHERE d.parent_id = e.id;
        WITH freed AS (
            UPDATE kathikon.jobs j
            SET state = CASE WHEN j.scheduled_at > clock_timestamp() THEN 'scheduled' ELSE 'available' END,
                history = j.history || ',' || kathikon.line('unblocked', 'blocked',
                    CASE WHEN j.scheduled_at > clock_timestamp() THEN 'scheduled' ELSE 'available' END),
                owner = CASE WHEN cardinality(touched) <= 256 THEN kathikon.home(j.queue) END
            WHERE j.id = ANY (touched) AND NOT j.id = ANY (doomed) AND j.state = 'blocked'
                AND NOT EXISTS (SELECT FROM kathikon.dependencies d WHERE d.child_id = j.id)
            RETURNING j.id
        )
        SELECT array_agg(id) INTO ready FROM freed;
        IF ready IS NOT NULL THEN
            PERFORM kathikon.tell_ready(ready);
        END IF;
        IF cardinality(doomed) > 0 THEN
            PERFORM kathikon.cancel_blocked(doomed);
        END IF;
    END IF;

    IF EXISTS (SELECT FROM kathikon.batches WHERE sealed_at IS NULL AND parent_id IS NOT NULL) THEN
        PERFORM kathikon.seal_batches(ARRAY (SELECT id FROM ended));
    END IF;
    IF batched THEN
        -- The newest first: a batch within another is younger than that.
        FOR one IN
            SELECT batch_id, count(*) FILTER (WHERE state = 'completed') AS done,
                count(*) FILTER (WHERE state = 'cancelled') AS gone,
                count(*) FILTER (WHERE state = 'discarded') AS dead
            FROM ended WHERE batch_id IS NOT NULL GROUP BY batch_id ORDER BY batch_id DESC
        LOOP
            PERFORM kathikon.count_children(one.batch_id, one.done, one.gone, one.dead);
        END LOOP;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER after_end AFTER INSERT ON kathikon.finished_jobs REFERENCING NEW TABLE AS ended
    FOR EACH STATEMENT EXECUTE FUNCTION kathikon.after_end();

-- Finished jobs that live again do not count as ended any more, in the batch that they are children of. What was purged
-- goes on counting.
CREATE FUNCTION kathikon.after_removal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT r.batch_id, count(*) FILTER (WHERE r.state = 'completed') AS done,
            count(*) FILTER (WHERE r.state = 'cancelled') AS gone,
            count(*) FILTER (WHERE r.state = 'discarded') AS dead
        FROM removed r JOIN kathikon.jobs j ON j.id = r.id
        WHERE r.batch_id IS NOT NULL GROUP BY r.batch_id ORDER BY r.batch_id DESC
    LOOP
        UPDATE kathikon.batch_counts
        SET completed = completed - one.done, cancelled = cancelled - one.gone, discarded = discarded - one.dead,
            resolved_at = NULL, succeeded = NULL
        WHERE id = one.batch_id;
    END LOOP;
    RETURN NULL;
END
$$;

CREATE TRIGGER after_removal AFTER DELETE ON kathikon.finished_jobs REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION kathikon.after_removal();

-- An insert meets the job that holds its key: replace what it may, put it off, or have it run once more.
CREATE FUNCTION kathikon.meet(
    met uuid, new_args text, new_meta text, new_priority integer, new_max_attempts integer, new_scheduled_at timestamptz,
    new_tags text[], debounce timestamptz
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    held kathikon.unique_keys;
    found_queue text;
BEGIN
    SELECT * INTO held FROM kathikon.unique_keys WHERE key = met FOR UPDATE;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF NOT held.begun THEN
        -- Taken away from the node that has it in memory: whatever that does with it is refused.
        UPDATE kathikon.jobs j
        SET owner = NULL, guarded = coalesce(guarded, 0) + 1,
            args = coalesce(new_args::json, args), meta = coalesce(new_meta::json, meta),
            priority = coalesce(new_priority, priority), max_attempts = coalesce(new_max_attempts, max_attempts),
            scheduled_at = coalesce(debounce, new_scheduled_at, scheduled_at),
            tags = CASE WHEN new_tags IS NULL THEN tags ELSE nullif(new_tags, '{}') END,
            state = CASE WHEN state = 'blocked' THEN 'blocked'
                WHEN coalesce(debounce, new_scheduled_at, scheduled_at) > clock_timestamp() THEN 'scheduled'
                ELSE 'available' END,
            history = coalesce(nullif(history, ''),
                format('[%s,"inserted",null,"available"]', kathikon.microseconds(inserted_at)))
                || ',' || kathikon.line(CASE WHEN debounce IS NULL THEN 'replaced' ELSE 'put off' END,
                state, CASE WHEN state = 'blocked' THEN 'blocked'
                WHEN coalesce(debounce, new_scheduled_at, scheduled_at) > clock_timestamp() THEN 'scheduled'
                ELSE 'available' END)
        WHERE id = held.job_id AND attempt = 0 AND state IN ('scheduled', 'available', 'blocked')
        RETURNING queue INTO found_queue;
        IF FOUND THEN
            UPDATE kathikon.unique_keys SET revision = (SELECT guarded FROM kathikon.jobs WHERE id = held.job_id)
            WHERE key = met;
            PERFORM pg_notify('kathikon_unowned', found_queue);
            RETURN held.job_id;
        END IF;
    END IF;
    IF debounce IS NOT NULL AND held.begun THEN
        -- One that failed runs again anyhow.
        UPDATE kathikon.unique_keys SET again_at = debounce
        WHERE key = met AND EXISTS (SELECT FROM kathikon.jobs WHERE id = held.job_id AND state <> 'retryable');
    END IF;
    RETURN held.job_id;
END
$$;
