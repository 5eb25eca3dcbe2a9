SELECT worker, at, job_id, kind, message FROM kathikon.last_errors
