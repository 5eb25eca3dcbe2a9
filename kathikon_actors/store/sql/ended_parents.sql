SELECT id::text, state, result::text FROM kathikon.finished_jobs WHERE id = ANY ($1::text[]::uuid[])
UNION ALL
SELECT id::text, state, result::text FROM kathikon.archived_jobs WHERE id = ANY ($1::text[]::uuid[])
