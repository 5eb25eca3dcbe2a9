WITH begun AS (
    UPDATE kathikon.jobs j
    SET owner = -1, state = 'executing', attempt = r.attempt, history = r.history,
        attempted_at = timestamptz '2000-01-01 00:00Z' + r.attempted_at * interval '1 microsecond'
    FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::bigint[]) AS r (id, attempt, history, attempted_at)
    WHERE j.id = r.id
    RETURNING j.id, j.attempt
)
INSERT INTO kathikon.external_claims (job_id, attempt, token, runner, lease_until)
SELECT id, attempt, $5, $6, clock_timestamp() + $7 * interval '1 second' FROM begun
ON CONFLICT (job_id) DO UPDATE
SET attempt = excluded.attempt, token = excluded.token, runner = excluded.runner, lease_until = excluded.lease_until
