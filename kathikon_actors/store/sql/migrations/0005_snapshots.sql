-- The last two snapshots of each actor that keeps some.

CREATE TABLE kathikon.snapshots (
    version bigint NOT NULL,
    taken_at timestamptz NOT NULL,
    node_id integer NOT NULL REFERENCES kathikon.nodes,
    actor text NOT NULL,
    codec text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (node_id, actor, version)
);

COMMENT ON TABLE kathikon.snapshots IS 'The state of actors, by the node that they live in and their name.';
COMMENT ON COLUMN kathikon.snapshots.version IS 'Grows with every snapshot of that actor; the last two are kept.';
COMMENT ON COLUMN kathikon.snapshots.codec IS 'How state is written: msgpack, or pickle if its actor asked for that.';
