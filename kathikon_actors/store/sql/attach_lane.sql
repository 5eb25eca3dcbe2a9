-- From here on no earlier connection commits in this lane; waits for the commit in flight.
UPDATE kathikon.lanes SET session = session + 1, backend = pg_backend_pid()
WHERE node_id = $1 AND lane = $2 AND epoch = $3
RETURNING session, batch
