-- Whoever ends one of these waits for us, and then sees who depends on it.
SELECT id::text FROM kathikon.jobs WHERE id = ANY ($1::text[]::uuid[]) ORDER BY id FOR KEY SHARE
