SELECT
    n.name, n.left_at IS NULL AND n.lease_until > clock_timestamp() AS alive, n.left_at IS NOT NULL AS "left",
    extract(epoch FROM clock_timestamp() - n.started_at)::double precision AS up_for,
    extract(epoch FROM n.lease_until - clock_timestamp())::double precision AS lease_left, n.epoch,
    EXISTS (SELECT FROM kathikon.leader l WHERE l.node_id = n.node_id AND l.lease_until > clock_timestamp()) AS leads,
    ARRAY (SELECT q.queue FROM kathikon.node_queues q WHERE q.node_id = n.node_id ORDER BY q.queue) AS queues
FROM kathikon.nodes n
ORDER BY n.name
