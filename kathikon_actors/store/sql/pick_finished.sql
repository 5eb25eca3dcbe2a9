SELECT id FROM kathikon.finished_jobs
WHERE /* meets */
ORDER BY id
