SELECT name FROM kathikon.nodes WHERE left_at IS NULL AND lease_until > clock_timestamp()
