DELETE FROM kathikon.finished_jobs
WHERE /* meets */
