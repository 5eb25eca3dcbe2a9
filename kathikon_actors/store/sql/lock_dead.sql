-- Whoever joins under this name meanwhile waits for us, or we find it alive.
SELECT n.name, n.epoch, n.left_at IS NULL AS crashed,
    EXISTS (SELECT FROM kathikon.lanes l WHERE l.node_id = n.node_id AND l.epoch <> 0) AS open
FROM kathikon.nodes n
WHERE n.node_id = $1 AND (n.left_at IS NOT NULL OR n.lease_until < clock_timestamp())
FOR UPDATE
