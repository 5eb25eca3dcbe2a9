SELECT key::text, job_id::text FROM kathikon.unique_keys WHERE key = ANY ($1::text[]::uuid[])
