-- What an operator's change may touch; nobody owns the row afterwards.
UPDATE kathikon.jobs j
SET state = r.state, max_attempts = r.max_attempts, progress = r.progress, history = r.history, errors = r.errors,
    scheduled_at = timestamptz '2000-01-01 00:00Z' + r.scheduled_at * interval '1 microsecond',
    finished_at = timestamptz '2000-01-01 00:00Z' + r.finished_at * interval '1 microsecond', owner = NULL
FROM unnest(
    $1::uuid[], $2::text[], $3::integer[], $4::smallint[], $5::text[], $6::text[], $7::bigint[], $8::bigint[]
) AS r (id, state, max_attempts, progress, history, errors, scheduled_at, finished_at)
WHERE j.id = r.id
