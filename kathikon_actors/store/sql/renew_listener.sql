UPDATE kathikon.listeners SET lease_until = clock_timestamp() + $2 * interval '1 second'
WHERE id = $1 AND lease_until > clock_timestamp()
