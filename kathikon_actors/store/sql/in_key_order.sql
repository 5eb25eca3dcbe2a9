SELECT id FROM kathikon.finished_jobs WHERE id = ANY ($1::uuid[]) ORDER BY unique_key, id
