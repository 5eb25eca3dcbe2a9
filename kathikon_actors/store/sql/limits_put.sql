INSERT INTO kathikon.limit_holders (name, key, node_id, held, wanted, served, epoch)
SELECT r.name, r.key, r.node_id, r.held, r.wanted, r.served, r.epoch
FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::bigint[], $7::bigint[])
    AS r (name, key, node_id, held, wanted, served, epoch)
ON CONFLICT (name, key, node_id) DO UPDATE
SET held = excluded.held, wanted = excluded.wanted, served = excluded.served, epoch = excluded.epoch
