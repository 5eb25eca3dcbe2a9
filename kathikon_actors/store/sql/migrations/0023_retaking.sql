-- Jobs that have ended are to live again, by themselves (a retry) or as others (a rerun): whoever is to live takes the
-- unique key, unless another job has it. Gives the ids of those that cannot, and who has their key.
--
-- The rows first, then the keys in their order, as inserts take them; the counts of batches come after both. The rows that
-- live are stored with holds_key set, where they meet those of inserts under way, and then settle_keys follows.
CREATE FUNCTION kathikon.retake_keys(ended uuid[], takers uuid[]) RETURNS TABLE (refused uuid, holder uuid)
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM kathikon.finished_jobs f WHERE f.id = ANY (ended) ORDER BY f.id FOR UPDATE;
    -- Of several of the same key the first one takes it. One that somebody holds is locked from here on.
    INSERT INTO kathikon.unique_keys AS k (key, job_id, revision)
    SELECT DISTINCT ON (f.unique_key)
        f.unique_key, r.taker, CASE WHEN r.taker = f.id THEN coalesce(f.guarded, 0) ELSE 0 END
    FROM unnest(ended, takers) AS r (id, taker) JOIN kathikon.finished_jobs f ON f.id = r.id
    WHERE f.unique_key IS NOT NULL
        AND NOT EXISTS (SELECT FROM kathikon.jobs j WHERE j.holds_key AND j.unique_key = f.unique_key)
    ORDER BY f.unique_key, f.id
    ON CONFLICT (key) DO UPDATE
    SET job_id = excluded.job_id, states = NULL, expires_at = NULL, begun = false, revision = excluded.revision,
        again_at = NULL
    WHERE k.expires_at <= clock_timestamp();
    -- Only a second statement sees the job of an insert that we have waited for.
    UPDATE kathikon.unique_keys k
    SET job_id = r.taker, begun = false, revision = r.revision, again_at = NULL,
        states = CASE WHEN k.job_id = r.id THEN k.states END,
        expires_at = CASE WHEN k.job_id = r.id THEN k.expires_at END
    FROM (
        SELECT DISTINCT ON (f.unique_key)
            f.unique_key, f.id, r.taker, CASE WHEN r.taker = f.id THEN coalesce(f.guarded, 0) ELSE 0 END AS revision
        FROM unnest(ended, takers) AS r (id, taker) JOIN kathikon.finished_jobs f ON f.id = r.id
        WHERE f.unique_key IS NOT NULL
            AND NOT EXISTS (SELECT FROM kathikon.jobs j WHERE j.holds_key AND j.unique_key = f.unique_key)
        ORDER BY f.unique_key, f.id
    ) AS r
    WHERE k.key = r.unique_key AND k.job_id <> r.taker AND (
        k.job_id = r.id  -- it kept its key after its end, and hands it over
        OR NOT EXISTS (SELECT FROM kathikon.jobs j WHERE j.id = k.job_id)
        AND NOT EXISTS (SELECT FROM kathikon.finished_jobs j WHERE j.id = k.job_id)
    );
    RETURN QUERY
        SELECT DISTINCT ON (f.id) f.id, h.job_id
        FROM unnest(ended, takers) AS r (id, taker)
        JOIN kathikon.finished_jobs f ON f.id = r.id
        CROSS JOIN LATERAL (
            SELECT j.id AS job_id FROM kathikon.jobs j WHERE j.holds_key AND j.unique_key = f.unique_key
            UNION ALL
            SELECT k.job_id FROM kathikon.unique_keys k WHERE k.key = f.unique_key
        ) AS h
        WHERE h.job_id <> r.taker;
END
$$;

-- A key stands in one place from now on: in the row of a usual job, in unique_keys of others. What did not live after all
-- lets go of what it took.
CREATE FUNCTION kathikon.settle_keys(ids uuid[]) RETURNS void LANGUAGE sql AS $$
    UPDATE kathikon.jobs j SET holds_key = NULL
    FROM kathikon.unique_keys k
    WHERE j.id = ANY (ids) AND j.holds_key AND k.key = j.unique_key AND k.job_id = j.id
        AND (j.guarded IS NOT NULL OR k.states IS NOT NULL OR k.expires_at IS NOT NULL);
    DELETE FROM kathikon.unique_keys k USING kathikon.jobs j
    WHERE j.id = ANY (ids) AND j.holds_key AND k.key = j.unique_key AND k.job_id = j.id;
    DELETE FROM kathikon.unique_keys k USING kathikon.finished_jobs f
    WHERE f.id = ANY (ids) AND k.key = f.unique_key AND k.job_id = f.id AND k.states IS NULL;
$$;
