SELECT id FROM kathikon.jobs
WHERE /* meets */
ORDER BY id
