INSERT INTO kathikon.nodes (name, epoch, lease_until, started_at) VALUES ($1, 0, 'epoch', clock_timestamp())
ON CONFLICT (name) DO NOTHING
