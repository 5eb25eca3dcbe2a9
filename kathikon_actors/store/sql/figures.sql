SELECT queue, worker, completed, cancelled, discarded, failed, waits, runs
FROM kathikon.figures
WHERE at > clock_timestamp() - $1 * interval '1 second'
