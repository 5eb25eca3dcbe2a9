CREATE INDEX IF NOT EXISTS jobs_queue ON kathikon.jobs (queue)
