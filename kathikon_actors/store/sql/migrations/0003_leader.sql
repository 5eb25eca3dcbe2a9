-- The one node that does the work which is done once for all nodes: cron ticks, retention, statistics.

CREATE TABLE kathikon.leader (
    lease_until timestamptz NOT NULL,
    term bigint NOT NULL DEFAULT 1,
    node_id integer NOT NULL REFERENCES kathikon.nodes,
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
) WITH (fillfactor = 50);

COMMENT ON TABLE kathikon.leader IS 'At most one row. The term grows with every change of the leader.';
