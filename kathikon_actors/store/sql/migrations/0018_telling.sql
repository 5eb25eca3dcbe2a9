-- What the database does to jobs and batches by itself is told to the node whose session it is, before its commit's
-- answer, by notices; while nobody listens there (`kathikon.telling`), nothing is looked up for that.

-- Tell of the last line in the history of these jobs. Many are told as numbers. A history that cannot be read is no reason
-- for the transaction to fail.
CREATE FUNCTION kathikon.tell_moved(ids uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    named json;
    more json;
BEGIN
    IF current_setting('kathikon.telling', true) IS DISTINCT FROM 'on' OR coalesce(cardinality(ids), 0) = 0 THEN
        RETURN;
    END IF;
    SELECT json_agg(json_build_array(id, worker, queue, attempt, ('[' || history || ']')::json -> -1)) INTO named
    FROM (
        SELECT id, worker, queue, attempt, history FROM kathikon.jobs WHERE id = ANY (ids[:5000])
        UNION ALL
        SELECT id, worker, queue, attempt, history FROM kathikon.finished_jobs WHERE id = ANY (ids[:5000])
    ) AS j;
    SELECT json_agg(json_build_array(queue, worker, line ->> 0, line ->> 1, line ->> 2, number)) INTO more
    FROM (
        SELECT queue, worker, line::jsonb - 0 AS line, count(*) AS number
        FROM (
            SELECT queue, worker, ('[' || history || ']')::json -> -1 AS line
            FROM kathikon.jobs WHERE id = ANY (ids[5001:])
            UNION ALL
            SELECT queue, worker, ('[' || history || ']')::json -> -1 AS line
            FROM kathikon.finished_jobs WHERE id = ANY (ids[5001:])
        ) AS lines
        GROUP BY 1, 2, 3
    ) AS kinds;
    RAISE NOTICE USING MESSAGE = 'kathikon_moved ' || json_build_array(coalesce(named, '[]'), coalesce(more, '[]'));
EXCEPTION WHEN data_exception THEN
    NULL;
END
$$;

-- Tell how far a batch is.
CREATE FUNCTION kathikon.tell_batch(batch uuid, action text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    said json;
BEGIN
    IF current_setting('kathikon.telling', true) IS DISTINCT FROM 'on' THEN
        RETURN;
    END IF;
    SELECT json_build_array(id, action, total, completed, cancelled + discarded) INTO said
    FROM kathikon.all_batches WHERE id = batch;
    RAISE NOTICE USING MESSAGE = 'kathikon_batch ' || said;
END
$$;

-- End a batch whose last child has ended, exactly once: insert its callback, end the job that waits for it.
CREATE OR REPLACE FUNCTION kathikon.resolve_batch(batch uuid) RETURNS void LANGUAGE plpgsql AS $$
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
    PERFORM kathikon.tell_batch(batch, CASE WHEN success THEN 'succeeded' ELSE 'failed' END);
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
        PERFORM kathikon.tell_moved(ARRAY[made]);
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
CREATE OR REPLACE FUNCTION kathikon.end_waiting(job uuid) RETURNS void LANGUAGE plpgsql AS $$
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
    PERFORM kathikon.tell_moved(ARRAY[job]);
END
$$;

-- The batches of these jobs take no more children.
CREATE OR REPLACE FUNCTION kathikon.seal_batches(parents uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
BEGIN
    FOR one IN
        UPDATE kathikon.batches SET sealed_at = clock_timestamp()
        WHERE parent_id = ANY (parents) AND sealed_at IS NULL
        RETURNING id
    LOOP
        PERFORM kathikon.tell_batch(one, 'sealed');
        PERFORM kathikon.resolve_batch(one);
    END LOOP;
END
$$;

DROP FUNCTION kathikon.cancel_blocked(uuid[]);

-- What they wait for has failed. Gives those that are cancelled.
CREATE FUNCTION kathikon.cancel_blocked(ids uuid[]) RETURNS uuid[] LANGUAGE sql AS $$
    WITH gone AS (DELETE FROM kathikon.jobs WHERE id = ANY (ids) AND state = 'blocked' RETURNING *),
    kept AS (
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
    RETURNING id
    )
    SELECT array_agg(id) FROM kept
$$;

-- Jobs have ended.
CREATE OR REPLACE FUNCTION kathikon.after_end() RETURNS trigger LANGUAGE plpgsql AS $$
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
            PERFORM kathikon.tell_moved(ARRAY[made]);
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
            PERFORM kathikon.tell_moved(ready);
            PERFORM kathikon.tell_ready(ready);
        END IF;
        IF cardinality(doomed) > 0 THEN
            PERFORM kathikon.tell_moved(kathikon.cancel_blocked(doomed));
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

-- Finished jobs that live again do not count as ended any more, in the batch that they are children of. What was purged
-- goes on counting.
CREATE OR REPLACE FUNCTION kathikon.after_removal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one record;
    again boolean;
BEGIN
    FOR one IN
        SELECT r.batch_id, count(*) FILTER (WHERE r.state = 'completed') AS done,
            count(*) FILTER (WHERE r.state = 'cancelled') AS gone,
            count(*) FILTER (WHERE r.state = 'discarded') AS dead
        FROM removed r JOIN kathikon.jobs j ON j.id = r.id
        WHERE r.batch_id IS NOT NULL GROUP BY r.batch_id ORDER BY r.batch_id DESC
    LOOP
        SELECT resolved_at IS NOT NULL INTO again FROM kathikon.batch_counts WHERE id = one.batch_id FOR UPDATE;
        UPDATE kathikon.batch_counts
        SET completed = completed - one.done, cancelled = cancelled - one.gone, discarded = discarded - one.dead,
            resolved_at = NULL, succeeded = NULL
        WHERE id = one.batch_id;
        IF again THEN
            PERFORM kathikon.tell_batch(one.batch_id, 'retried');
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- An insert meets the job that holds its key: replace what it may, put it off, or have it run once more.
CREATE OR REPLACE FUNCTION kathikon.meet(
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
            PERFORM kathikon.tell_moved(ARRAY[held.job_id]);
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
