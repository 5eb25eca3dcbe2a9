INSERT INTO kathikon.deliveries (broadcast_id, node_id, job_id) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
