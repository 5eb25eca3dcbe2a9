SELECT true FROM kathikon.external_claims
WHERE job_id = $1 AND attempt = $2 AND lease_until < clock_timestamp()
FOR UPDATE
