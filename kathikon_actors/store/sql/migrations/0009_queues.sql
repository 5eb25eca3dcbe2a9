-- What operators have set for queues, for all nodes, and which node runs which queue.

CREATE TABLE kathikon.queues (
    changed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    concurrency integer,
    paused boolean NOT NULL DEFAULT false,
    removed boolean NOT NULL DEFAULT false,
    name text PRIMARY KEY,
    declaration json
);

COMMENT ON TABLE kathikon.queues IS 'What operators have set for queues; a queue without a row is as its app declares it.';
COMMENT ON COLUMN kathikon.queues.concurrency IS 'Of each node that runs it; null for what the app declares.';
COMMENT ON COLUMN kathikon.queues.declaration IS 'Of a queue that was added at run time.';

CREATE TABLE kathikon.node_queues (
    node_id integer NOT NULL REFERENCES kathikon.nodes ON DELETE CASCADE,
    concurrency integer NOT NULL,
    processes integer NOT NULL,
    queue text NOT NULL,
    PRIMARY KEY (node_id, queue)
);

COMMENT ON TABLE kathikon.node_queues IS 'The queues that each node runs, as it said itself.';
