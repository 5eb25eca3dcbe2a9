SELECT version, (extract(epoch FROM taken_at) * 1000000)::bigint, codec, state
FROM kathikon.snapshots
WHERE node_id = $1 AND actor = $2
ORDER BY version DESC
LIMIT 2
