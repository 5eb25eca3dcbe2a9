-- How many jobs have ended, without looking at them; and where they go when they are old.

-- Only appended to, so that nobody waits for anybody; the leader adds the lines up now and then.
CREATE TABLE kathikon.finished_counts (
    number bigint NOT NULL,
    queue text NOT NULL,
    worker text NOT NULL,
    state text NOT NULL
);

COMMENT ON TABLE kathikon.finished_counts IS 'The sum of number is how many rows of finished_jobs there are.';

CREATE FUNCTION kathikon.count_finished() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO kathikon.finished_counts (number, queue, worker, state)
        SELECT count(*), queue, worker, state FROM changed GROUP BY queue, worker, state;
    ELSE
        INSERT INTO kathikon.finished_counts (number, queue, worker, state)
        SELECT -count(*), queue, worker, state FROM changed GROUP BY queue, worker, state;
    END IF;
    RETURN NULL;
END
$$;

INSERT INTO kathikon.finished_counts (number, queue, worker, state)
SELECT count(*), queue, worker, state FROM kathikon.finished_jobs GROUP BY queue, worker, state;

CREATE TRIGGER count_finished AFTER INSERT ON kathikon.finished_jobs
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION kathikon.count_finished();
CREATE TRIGGER count_removed AFTER DELETE ON kathikon.finished_jobs
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION kathikon.count_finished();

CREATE TABLE kathikon.archived_jobs (LIKE kathikon.finished_jobs INCLUDING DEFAULTS INCLUDING COMMENTS);
ALTER TABLE kathikon.archived_jobs ADD PRIMARY KEY (id);

COMMENT ON TABLE kathikon.archived_jobs IS 'Jobs that ended long ago; deleted when they are older still.';

-- Rows come in the order of their end, so a few bytes a block range are enough to find the old ones.
CREATE INDEX finished_jobs_age ON kathikon.finished_jobs USING brin (finished_at) WITH (autosummarize = on);
CREATE INDEX archived_jobs_age ON kathikon.archived_jobs USING brin (finished_at) WITH (autosummarize = on);
