DELETE FROM kathikon.finished_jobs WHERE id = $1
