-- Broadcast queues: what was announced, and which node has its own job of it.

CREATE TABLE kathikon.broadcasts (
    id uuid PRIMARY KEY,
    until timestamptz NOT NULL,
    queue text NOT NULL
);

COMMENT ON TABLE kathikon.broadcasts IS 'Announcements; the job of the same id says what is to be done.';
COMMENT ON COLUMN kathikon.broadcasts.until IS 'Nodes that come later are not given it.';

CREATE TABLE kathikon.deliveries (
    broadcast_id uuid NOT NULL REFERENCES kathikon.broadcasts ON DELETE CASCADE,
    job_id uuid NOT NULL UNIQUE,
    node_id integer NOT NULL REFERENCES kathikon.nodes,
    PRIMARY KEY (broadcast_id, node_id)
);

COMMENT ON TABLE kathikon.deliveries IS 'The job that each node has of an announcement; it is never another node''s.';
