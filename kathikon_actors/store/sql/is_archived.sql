SELECT EXISTS (SELECT FROM kathikon.archived_jobs WHERE id = $1)
