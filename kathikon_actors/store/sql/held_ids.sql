-- Which of these ids are taken, and since when, in microseconds since 2000.
SELECT id::text, round(extract(epoch FROM inserted_at - '2000-01-01 00:00Z') * 1000000)::bigint
FROM kathikon.jobs WHERE id = ANY ($1::text[]::uuid[])
UNION ALL
SELECT id::text, round(extract(epoch FROM inserted_at - '2000-01-01 00:00Z') * 1000000)::bigint
FROM kathikon.finished_jobs WHERE id = ANY ($1::text[]::uuid[])
UNION ALL
SELECT id::text, round(extract(epoch FROM inserted_at - '2000-01-01 00:00Z') * 1000000)::bigint
FROM kathikon.archived_jobs WHERE id = ANY ($1::text[]::uuid[])
