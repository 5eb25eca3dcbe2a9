UPDATE kathikon.finished_jobs SET history = $2 WHERE id = $1
