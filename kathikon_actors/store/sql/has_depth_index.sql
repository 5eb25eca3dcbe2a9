SELECT to_regclass('kathikon.jobs_queue') IS NOT NULL
