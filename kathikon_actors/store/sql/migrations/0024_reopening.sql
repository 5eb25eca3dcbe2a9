-- Jobs that hang together, when some of them run again.

ALTER TABLE kathikon.batches ADD COLUMN run_at timestamptz;
COMMENT ON COLUMN kathikon.batches.run_at IS
    'When the run of parent_id started that opened it, its attempted_at; null when an older version opened it.';

CREATE OR REPLACE VIEW kathikon.all_batches AS
    SELECT
        b.id, b.name, b.opened_at, b.sealed_at, c.resolved_at, c.succeeded, b.total, c.completed, c.cancelled,
        c.discarded, b.needed, b.parent_id, b.outer_id, b.on_complete, b.on_success, b.on_failure, b.run_at
    FROM kathikon.batches b JOIN kathikon.batch_counts c ON c.id = b.id;

-- A job waits for its batches, those of its present run: it ends with the last of them. An earlier run is judged by its own.
CREATE OR REPLACE FUNCTION kathikon.end_waiting(job uuid) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    over boolean;
    success boolean;
BEGIN
    SELECT attempted_at INTO started FROM kathikon.jobs WHERE id = job AND state = 'waiting' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    SELECT coalesce(bool_and(c.resolved_at IS NOT NULL), true), coalesce(bool_and(c.succeeded), true) INTO over, success
    FROM kathikon.batches b JOIN kathikon.batch_counts c ON c.id = b.id
    WHERE b.parent_id = job
        AND (b.run_at = started OR b.run_at IS NULL AND (started IS NULL OR b.opened_at >= started));
    IF NOT over THEN
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

-- Children of a batch that had ended live again: they do not count any more. A batch that goes on with that does not count
-- as ended in the one around it, and so on outwards.
CREATE FUNCTION kathikon.uncount_children(batch uuid, done bigint, gone bigint, dead bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    counts kathikon.batch_counts;
    around uuid;
BEGIN
    SELECT * INTO counts FROM kathikon.batch_counts WHERE id = batch FOR UPDATE;
    UPDATE kathikon.batch_counts
    SET completed = completed - done, cancelled = cancelled - gone, discarded = discarded - dead,
        resolved_at = NULL, succeeded = NULL
    WHERE id = batch;
    IF counts.resolved_at IS NULL THEN
        RETURN;
    END IF;
    PERFORM kathikon.tell_batch(batch, 'retried');
    SELECT outer_id INTO around FROM kathikon.batches WHERE id = batch;
    IF around IS NOT NULL THEN
        PERFORM kathikon.uncount_children(around, counts.succeeded::integer, 0, (NOT counts.succeeded)::integer);
    END IF;
END
$$;

-- Finished jobs that live again do not count as ended any more, in the batch that they are children of. What was purged
-- goes on counting.
CREATE OR REPLACE FUNCTION kathikon.after_removal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    one record;
BEGIN
    IF NOT EXISTS (SELECT FROM removed r JOIN kathikon.jobs j ON j.id = r.id WHERE r.batch_id IS NOT NULL) THEN
        RETURN NULL;
    END IF;
    -- All that may change, the newest first, as those who end children lock them: a batch within another is younger.
    PERFORM FROM kathikon.batch_counts
    WHERE id = ANY (ARRAY (
        WITH RECURSIVE around (id) AS (
            SELECT r.batch_id FROM removed r JOIN kathikon.jobs j ON j.id = r.id WHERE r.batch_id IS NOT NULL
            UNION
            SELECT b.outer_id FROM around a JOIN kathikon.batches b ON b.id = a.id WHERE b.outer_id IS NOT NULL
        )
        SELECT id FROM around
    ))
    ORDER BY id DESC
    FOR UPDATE;
    FOR one IN
        SELECT r.batch_id, count(*) FILTER (WHERE r.state = 'completed') AS done,
            count(*) FILTER (WHERE r.state = 'cancelled') AS gone,
            count(*) FILTER (WHERE r.state = 'discarded') AS dead
        FROM removed r JOIN kathikon.jobs j ON j.id = r.id
        WHERE r.batch_id IS NOT NULL GROUP BY r.batch_id ORDER BY r.batch_id DESC
    LOOP
        PERFORM kathikon.uncount_children(one.batch_id, one.done, one.gone, one.dead);
    END LOOP;
    RETURN NULL;
END
$$;

ALTER TABLE kathikon.unique_keys
    ADD COLUMN again_priority integer,
    ADD COLUMN again_max_attempts integer,
    ADD COLUMN again_args json,
    ADD COLUMN again_meta json,
    ADD COLUMN again_tags text[];
COMMENT ON COLUMN kathikon.unique_keys.again_args IS
    'What the next run has otherwise than the job, as its likes: null for what it has in common; means nothing without again_at.';
COMMENT ON COLUMN kathikon.unique_keys.begun IS
    'Its start is committed: nobody changes it any more, until that run is over and another is to come.';

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

    IF keyed AND EXISTS (SELECT FROM kathikon.unique_keys) THEN
        -- In the order of their keys, as inserts take them.
        DELETE FROM kathikon.unique_keys k
        USING (SELECT unique_key, id, state FROM ended WHERE unique_key IS NOT NULL ORDER BY unique_key) e
        WHERE k.key = e.unique_key AND k.job_id = e.id AND k.again_at IS NULL
            AND NOT e.state = ANY (coalesce(k.states, '{}'));
        FOR one IN
            SELECT
                e.id, e.timeout, e.queue, e.worker, e.keep_result, e.original_id, e.unique_key, e.partition_key,
                e.parent_id, coalesce(k.again_args, e.args) AS args, coalesce(k.again_meta, e.meta) AS meta,
                coalesce(k.again_priority, e.priority) AS priority,
                coalesce(k.again_max_attempts, e.max_attempts) AS max_attempts,
                nullif(coalesce(k.again_tags, e.tags), '{}') AS tags, k.again_at
            FROM ended e JOIN kathikon.unique_keys k ON k.key = e.unique_key AND k.job_id = e.id
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

-- An insert meets the job that holds its key: replace what it may, put it off, or have it run once more. Null when no
-- job holds it any more.
CREATE OR REPLACE FUNCTION kathikon.meet(
    met uuid, new_args text, new_meta text, new_priority integer, new_max_attempts integer, new_scheduled_at timestamptz,
    new_tags text[], debounce timestamptz
) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    held kathikon.unique_keys;
    found_queue text;
BEGIN
    SELECT * INTO held FROM kathikon.unique_keys
    WHERE key = met AND (expires_at IS NULL OR expires_at > clock_timestamp())
    FOR UPDATE;
    IF NOT FOUND THEN
        SELECT id INTO held.job_id FROM kathikon.jobs WHERE holds_key AND unique_key = met FOR UPDATE;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
        held.begun := false;
    END IF;
    IF NOT held.begun THEN
        -- Taken away from the node that has it in memory: whatever that does with it is refused.
        UPDATE kathikon.jobs j
        SET owner = NULL, guarded = coalesce(guarded, 0) + 1, holds_key = NULL,
            args = coalesce(new_args::json, args), meta = coalesce(new_meta::json, meta),
            priority = coalesce(new_priority, priority), max_attempts = coalesce(new_max_attempts, max_attempts),
            scheduled_at = coalesce(debounce, new_scheduled_at, scheduled_at),
            tags = CASE WHEN new_tags IS NULL THEN tags ELSE nullif(new_tags, '{}') END,
            state = CASE WHEN state = 'blocked' THEN 'blocked'
                WHEN coalesce(debounce, new_scheduled_at, scheduled_at) <= clock_timestamp() THEN 'available'
                WHEN state = 'retryable' THEN 'retryable' ELSE 'scheduled' END,
            history = coalesce(nullif(history, ''),
                format('[%s,"inserted",null,"available"]', kathikon.microseconds(inserted_at)))
                || ',' || kathikon.line(CASE WHEN debounce IS NULL THEN 'replaced' ELSE 'put off' END,
                state, CASE WHEN state = 'blocked' THEN 'blocked'
                WHEN coalesce(debounce, new_scheduled_at, scheduled_at) <= clock_timestamp() THEN 'available'
                WHEN state = 'retryable' THEN 'retryable' ELSE 'scheduled' END)
        WHERE id = held.job_id AND state IN ('scheduled', 'available', 'blocked', 'retryable')
        RETURNING queue INTO found_queue;
        IF FOUND THEN
            -- From here on its start is committed before it runs: a row of unique_keys says whether it was.
            INSERT INTO kathikon.unique_keys AS k (key, job_id, revision)
            SELECT met, id, guarded FROM kathikon.jobs WHERE id = held.job_id
            ON CONFLICT (key) DO UPDATE
            SET revision = excluded.revision, job_id = excluded.job_id,
                states = CASE WHEN k.job_id = excluded.job_id THEN k.states END,
                expires_at = CASE WHEN k.job_id = excluded.job_id THEN k.expires_at END,
                again_at = NULL,  -- this job is the one that was wanted once more
                begun = false;
            PERFORM kathikon.tell_moved(ARRAY[held.job_id]);
            PERFORM pg_notify('kathikon_unowned', found_queue);
            RETURN held.job_id;
        END IF;
    END IF;
    IF debounce IS NOT NULL THEN
        -- It runs: another one is to follow it, as the newest insert wants it.
        UPDATE kathikon.unique_keys SET again_at = debounce,
            again_args = coalesce(new_args::json, CASE WHEN again_at IS NOT NULL THEN again_args END),
            again_meta = coalesce(new_meta::json, CASE WHEN again_at IS NOT NULL THEN again_meta END),
            again_priority = coalesce(new_priority, CASE WHEN again_at IS NOT NULL THEN again_priority END),
            again_max_attempts = coalesce(
                new_max_attempts, CASE WHEN again_at IS NOT NULL THEN again_max_attempts END
            ),
            again_tags = coalesce(new_tags, CASE WHEN again_at IS NOT NULL THEN again_tags END)
        WHERE key = met
            AND EXISTS (SELECT FROM kathikon.jobs WHERE id = held.job_id AND (held.begun OR state = 'executing'));
    END IF;
    RETURN held.job_id;
END
$$;

-- A key stands in one place from now on: in the row of a usual job, in unique_keys of others. What did not live after all
-- lets go of what it took. What
-- lives may be changed by others until it starts.
CREATE OR REPLACE FUNCTION kathikon.settle_keys(ids uuid[]) RETURNS void LANGUAGE sql AS $$
    UPDATE kathikon.jobs j SET holds_key = NULL
    FROM kathikon.unique_keys k
    WHERE j.id = ANY (ids) AND j.holds_key AND k.key = j.unique_key AND k.job_id = j.id
        AND (j.guarded IS NOT NULL OR k.states IS NOT NULL OR k.expires_at IS NOT NULL);
    DELETE FROM kathikon.unique_keys k USING kathikon.jobs j
    WHERE j.id = ANY (ids) AND j.holds_key AND k.key = j.unique_key AND k.job_id = j.id;
    UPDATE kathikon.unique_keys k SET begun = false
    FROM kathikon.jobs j
    WHERE j.id = ANY (ids) AND k.key = j.unique_key AND k.job_id = j.id AND k.begun;
    DELETE FROM kathikon.unique_keys k USING kathikon.finished_jobs f
    WHERE f.id = ANY (ids) AND k.key = f.unique_key AND k.job_id = f.id AND k.states IS NULL;
$$;
