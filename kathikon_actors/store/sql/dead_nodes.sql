-- Nodes that left or whose lease ran out, and that may own rows: the lanes of one that owns none are removed.
SELECT n.node_id
FROM kathikon.nodes n
WHERE n.node_id <> $1 AND (n.left_at IS NOT NULL OR n.lease_until < clock_timestamp())
    AND EXISTS (SELECT FROM kathikon.lanes l WHERE l.node_id = n.node_id)
ORDER BY n.node_id
