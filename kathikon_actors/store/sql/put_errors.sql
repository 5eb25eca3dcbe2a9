INSERT INTO kathikon.last_errors AS e (worker, at, job_id, kind, message)
SELECT r.worker, timestamptz '2000-01-01 00:00Z' + r.at * interval '1 microsecond', r.job_id, r.kind, r.message
FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[]) AS r (worker, at, job_id, kind, message)
ORDER BY r.worker
ON CONFLICT (worker) DO UPDATE
SET at = excluded.at, job_id = excluded.job_id, kind = excluded.kind, message = excluded.message
WHERE e.at < excluded.at
