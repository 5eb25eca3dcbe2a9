DELETE FROM kathikon.jobs WHERE id = $1
