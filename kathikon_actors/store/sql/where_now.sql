SELECT id, state, false AS ended FROM kathikon.jobs WHERE id = ANY ($1::uuid[])
UNION ALL
SELECT id, state, true AS ended FROM kathikon.finished_jobs WHERE id = ANY ($1::uuid[])
