SELECT id::text, kinds, extract(epoch FROM lease_until - clock_timestamp())::double precision AS lease_left
FROM kathikon.listeners
WHERE lease_until > clock_timestamp()
