SELECT job_id, attempt FROM kathikon.external_claims
WHERE lease_until < clock_timestamp()
ORDER BY job_id
LIMIT 100
