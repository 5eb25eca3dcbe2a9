-- The usual unique job holds its key by its own row: nothing is written for it elsewhere, and nothing has to be freed when
-- it ends. A row of unique_keys is for the others: those that others may change until they start, that keep the key after
-- their end, or for a time.
--
-- An insert that goes by unique_keys takes its key there, then stores its row with holds_key set, and only then lets go of
-- the one that it does not need. One that does not asks unique_keys after its row is stored. So two that are under way at
-- the same time meet in one of the two indexes, whichever kinds they are of.

ALTER TABLE kathikon.jobs ADD COLUMN holds_key boolean;
ALTER TABLE kathikon.finished_jobs ADD COLUMN holds_key boolean;
ALTER TABLE kathikon.archived_jobs ADD COLUMN holds_key boolean;
CREATE UNIQUE INDEX jobs_key ON kathikon.jobs (unique_key) WHERE holds_key;

COMMENT ON COLUMN kathikon.jobs.holds_key IS
    'It holds its unique key until it ends or waits; null when it has none, holds none, or kathikon.unique_keys says it.';
COMMENT ON COLUMN kathikon.finished_jobs.holds_key IS 'Always null: a job that has ended holds no key by its row.';
COMMENT ON COLUMN kathikon.archived_jobs.holds_key IS 'Always null: a job that has ended holds no key by its row.';
COMMENT ON COLUMN kathikon.jobs.unique_key IS 'A hash; whether the job holds it say holds_key and kathikon.unique_keys.';
COMMENT ON TABLE kathikon.unique_keys IS
    'Which job holds a unique key, where its row alone does not say it. A key is in one of the two places at most.';

-- Jobs whose perform has ended wait for their batches; those whose batches are resolved end at once. The node that
-- ran them lets go of them, and they of their keys, unless they hold them while they wait.
CREATE OR REPLACE FUNCTION kathikon.begin_waiting(waiting uuid[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
BEGIN
    UPDATE kathikon.jobs SET owner = NULL, holds_key = NULL WHERE id = ANY (waiting) AND state = 'waiting';
    DELETE FROM kathikon.unique_keys k USING kathikon.jobs j
    WHERE j.id = ANY (waiting) AND k.key = j.unique_key AND k.job_id = j.id
        AND NOT 'waiting' = ANY (coalesce(k.states, '{}'));
    PERFORM kathikon.seal_batches(waiting);
    FOREACH one IN ARRAY waiting LOOP
        PERFORM kathikon.end_waiting(one);
    END LOOP;
END
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

    IF keyed AND EXISTS (SELECT FROM kathikon.unique_keys) THEN
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
            -- From here on its start is committed before it runs: a row of unique_keys says whether it was.
            INSERT INTO kathikon.unique_keys AS k (key, job_id, revision)
            SELECT met, id, guarded FROM kathikon.jobs WHERE id = held.job_id
            ON CONFLICT (key) DO UPDATE
            SET revision = excluded.revision, job_id = excluded.job_id,
                states = CASE WHEN k.job_id = excluded.job_id THEN k.states END,
                expires_at = CASE WHEN k.job_id = excluded.job_id THEN k.expires_at END,
                again_at = CASE WHEN k.job_id = excluded.job_id THEN k.again_at END, begun = false;
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
