SELECT b.id, clock_timestamp()
FROM kathikon.broadcasts b
WHERE b.queue = ANY ($2::text[]) AND b.until > clock_timestamp()
    AND NOT EXISTS (SELECT FROM kathikon.deliveries d WHERE d.broadcast_id = b.id AND d.node_id = $1)
ORDER BY b.id
LIMIT $3
