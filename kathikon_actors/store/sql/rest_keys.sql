-- The runs of these jobs are over, and others are to come: until then they may be changed.
UPDATE kathikon.unique_keys k SET begun = false
FROM kathikon.jobs j
WHERE j.id = ANY ($2::uuid[]) AND j.owner = $1 AND j.state IN ('scheduled', 'retryable')
    AND k.key = ANY ($3::uuid[]) AND k.key = j.unique_key AND k.job_id = j.id AND k.begun
