-- As take_keys, on a connection of our own.
INSERT INTO kathikon.unique_keys AS k (key, job_id, states, expires_at)
SELECT
    r.key, r.id, r.states::text[], timestamptz '2000-01-01 00:00Z' + r.expires_at * interval '1 microsecond'
FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) AS r (key, id, states, expires_at)
WHERE NOT (SELECT count(*) > 0 FROM kathikon.jobs j WHERE j.holds_key AND j.unique_key = r.key)
ORDER BY r.key
ON CONFLICT (key) DO UPDATE
SET job_id = excluded.job_id, states = excluded.states, expires_at = excluded.expires_at, begun = false, revision = 0,
    again_at = NULL
WHERE k.expires_at <= clock_timestamp()
