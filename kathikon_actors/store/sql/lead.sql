-- Only a node that is a member may lead; two that ask at once wait for each other on the one row.
INSERT INTO kathikon.leader AS l (node_id, lease_until)
SELECT $1, clock_timestamp() + $3 * interval '1 second'
WHERE EXISTS (SELECT FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2)
ON CONFLICT (single) DO UPDATE
SET node_id = excluded.node_id, lease_until = excluded.lease_until, term = l.term + (l.node_id <> excluded.node_id)::integer
WHERE l.node_id = excluded.node_id OR l.lease_until < clock_timestamp()
RETURNING term
