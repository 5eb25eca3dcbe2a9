-- Live rows only: the backlog, not the history.
SELECT queue, extract(epoch FROM clock_timestamp() - min(scheduled_at))::double precision AS seconds
FROM kathikon.jobs
WHERE state = 'available'
GROUP BY queue
