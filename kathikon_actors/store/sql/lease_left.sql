SELECT greatest(extract(epoch FROM lease_until - clock_timestamp()), 0)::double precision
FROM kathikon.nodes WHERE node_id = $1
FOR UPDATE
