DELETE FROM kathikon.finished_jobs WHERE id = ANY ($1::uuid[]) RETURNING id, worker, queue, attempt, state
