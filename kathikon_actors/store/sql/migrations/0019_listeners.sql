-- Programs that listen to the nodes' events from outside. Not logged: after a crash of the server each of them has lost
-- its connection, and says again that it listens.

CREATE UNLOGGED TABLE kathikon.listeners (
    lease_until timestamptz NOT NULL,
    id uuid PRIMARY KEY,
    kinds text[]
);

COMMENT ON TABLE kathikon.listeners IS 'Programs without a node that hear events; nodes forward while a lease runs.';
COMMENT ON COLUMN kathikon.listeners.kinds IS 'Names of events; null for all.';
