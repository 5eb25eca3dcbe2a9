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
