DELETE FROM kathikon.external_claims WHERE job_id = $1
