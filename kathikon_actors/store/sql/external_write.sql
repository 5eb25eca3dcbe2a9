UPDATE kathikon.jobs
SET owner = NULL, state = $2, attempt = $3, progress = $4, orphaned = $5, history = $6, errors = $7, result = $8::json,
    scheduled_at = timestamptz '2000-01-01 00:00Z' + $9::bigint * interval '1 microsecond',
    finished_at = timestamptz '2000-01-01 00:00Z' + $10::bigint * interval '1 microsecond'
WHERE id = $1
