-- The claim, while it holds: the runner's own, of this attempt, and its lease runs.
SELECT runner FROM kathikon.external_claims
WHERE job_id = $1 AND token = $2 AND attempt = $3 AND lease_until > clock_timestamp()
FOR UPDATE
