UPDATE kathikon.external_claims c SET lease_until = clock_timestamp() + $4 * interval '1 second'
WHERE job_id = $1 AND token = $2 AND attempt = $3 AND lease_until > clock_timestamp()
    AND EXISTS (SELECT FROM kathikon.jobs j WHERE j.id = c.job_id AND j.owner = -1 AND j.attempt = c.attempt)
RETURNING true
