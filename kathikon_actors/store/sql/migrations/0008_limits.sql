-- Limits that hold across the cluster: the state of rates, and who holds tokens.

CREATE TABLE kathikon.limits (
    tat bigint NOT NULL DEFAULT 0,
    name text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (name, key)
) WITH (fillfactor = 50);

COMMENT ON TABLE kathikon.limits IS 'One row a limit and key, locked by whoever changes anything of it.';
COMMENT ON COLUMN kathikon.limits.tat IS 'Of a rate: the theoretical arrival time of the next start, ns since 1970.';

CREATE TABLE kathikon.limit_holders (
    epoch bigint NOT NULL,
    served bigint NOT NULL,
    held integer NOT NULL,
    wanted integer NOT NULL,
    node_id integer NOT NULL REFERENCES kathikon.nodes,
    name text NOT NULL,
    key text NOT NULL,
    PRIMARY KEY (name, key, node_id)
) WITH (fillfactor = 50);

COMMENT ON TABLE kathikon.limit_holders IS 'Tokens of concurrency limits; void when the node left or has another epoch.';
COMMENT ON COLUMN kathikon.limit_holders.served IS 'Grows with every hand-out: who was served longest ago is next.';
COMMENT ON TABLE kathikon.lanes IS 'The fences of a node: lane 0 inserts, 1 outcomes, 2 claims, 3 limits.';
