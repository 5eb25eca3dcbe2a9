-- In the order of the keys everywhere, so that nobody waits in a circle. A key that somebody holds stays locked, unless
-- it is by a row of jobs.
INSERT INTO kathikon.unique_keys AS k (key, job_id, states, expires_at)
SELECT
    r.key::uuid, r.id::uuid, r.states::text[],
    timestamptz '2000-01-01 00:00Z' + r.expires_at * interval '1 microsecond'
FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS r (key, id, states, expires_at)
WHERE NOT (SELECT count(*) > 0 FROM kathikon.jobs j WHERE j.holds_key AND j.unique_key = r.key::uuid)
ORDER BY r.key::uuid
ON CONFLICT (key) DO UPDATE
SET job_id = excluded.job_id, states = excluded.states, expires_at = excluded.expires_at, begun = false, revision = 0,
    again_at = NULL
WHERE k.expires_at <= clock_timestamp()
RETURNING key::text
