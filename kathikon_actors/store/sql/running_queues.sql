SELECT q.queue, n.name AS node, q.concurrency, q.processes
FROM kathikon.node_queues q JOIN kathikon.nodes n USING (node_id)
WHERE n.left_at IS NULL AND n.lease_until > clock_timestamp()
ORDER BY q.queue, n.name
