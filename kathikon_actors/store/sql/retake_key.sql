-- The job that held it is gone.
UPDATE kathikon.unique_keys
SET job_id = $2::text::uuid, states = $3::text::text[],
    expires_at = timestamptz '2000-01-01 00:00Z' + $4::bigint * interval '1 microsecond',
    begun = false, revision = 0, again_at = NULL
WHERE key = $1::text::uuid
