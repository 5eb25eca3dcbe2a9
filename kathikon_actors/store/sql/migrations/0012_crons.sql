-- Cron entries. last_tick only grows, in the transaction that inserts the tick's job: each tick makes one job.

CREATE TABLE kathikon.crons (
    last_tick timestamptz NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    paused boolean NOT NULL DEFAULT false,
    declared boolean NOT NULL DEFAULT false,
    removed boolean NOT NULL DEFAULT false,
    name text PRIMARY KEY,
    expression text NOT NULL,
    timezone text NOT NULL,
    catch_up text NOT NULL,
    template text NOT NULL,
    declaration text NOT NULL DEFAULT ''
) WITH (fillfactor = 70);

COMMENT ON TABLE kathikon.crons IS 'Jobs that are made again and again.';
COMMENT ON COLUMN kathikon.crons.last_tick IS 'Every tick until here is settled: it made its job, or never will.';
COMMENT ON COLUMN kathikon.crons.template IS 'The job as JSON; only Kathikon reads it.';
COMMENT ON COLUMN kathikon.crons.removed IS 'Removed by hand, and not to come back with the declaration that it came from.';
COMMENT ON COLUMN kathikon.crons.declaration IS 'The declaration that it came from: a changed one replaces it.';

-- Whoever changes an entry raises the version in the same transaction; whoever fires them looks at it.
CREATE TABLE kathikon.cron_version (
    version bigint NOT NULL DEFAULT 0,
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
);
INSERT INTO kathikon.cron_version DEFAULT VALUES;

COMMENT ON TABLE kathikon.cron_version IS 'One row. Its version grows whenever an entry is changed by hand.';
