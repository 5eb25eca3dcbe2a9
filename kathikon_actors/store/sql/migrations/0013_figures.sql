-- What nodes have done, in sums of a few seconds, kept for an hour: throughput and durations without a look at history.

CREATE TABLE kathikon.figures (
    at timestamptz NOT NULL,
    completed bigint NOT NULL,
    cancelled bigint NOT NULL,
    discarded bigint NOT NULL,
    failed bigint NOT NULL,
    node_id integer NOT NULL REFERENCES kathikon.nodes ON DELETE CASCADE,
    queue text NOT NULL,
    worker text NOT NULL,
    waits integer[] NOT NULL,
    runs integer[] NOT NULL,
    PRIMARY KEY (at, node_id, queue, worker)
);

COMMENT ON TABLE kathikon.figures IS 'Jobs that ended in the seconds from "at" on; failed attempts that are tried again.';
COMMENT ON COLUMN kathikon.figures.waits IS 'How many began so long after they were due, of a sample; two slots an octave of us.';

CREATE TABLE kathikon.last_errors (
    at timestamptz NOT NULL,
    job_id uuid NOT NULL,
    worker text PRIMARY KEY,
    kind text NOT NULL,
    message text NOT NULL
) WITH (fillfactor = 50);
