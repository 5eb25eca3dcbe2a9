-- Held until the end of the transaction: the name's next life cannot load its rows meanwhile.
SELECT name, left_at IS NULL AND lease_until > clock_timestamp() AS alive
FROM kathikon.nodes WHERE node_id = $1
FOR SHARE
