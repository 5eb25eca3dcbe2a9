-- What is not given stays as it is; a concurrency of 0 goes back to what the app declares.
INSERT INTO kathikon.queues AS q (name, paused, concurrency, removed, declaration)
VALUES ($1, coalesce($2, false), nullif($3::integer, 0), coalesce($4, false), $5)
ON CONFLICT (name) DO UPDATE
SET paused = coalesce($2, q.paused), removed = coalesce($4, q.removed), declaration = coalesce($5, q.declaration),
    concurrency = CASE WHEN $3::integer IS NULL THEN q.concurrency ELSE nullif($3::integer, 0) END,
    changed_at = clock_timestamp()
RETURNING name, paused, concurrency, removed, declaration
