INSERT INTO kathikon.commands (node_id, action, at, value)
SELECT node_id, $2, 0, $3 FROM kathikon.nodes WHERE name = $1
RETURNING number
