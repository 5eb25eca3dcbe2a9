WITH idle AS (
    SELECT l.name, l.key FROM kathikon.limits l
    WHERE l.tat < (extract(epoch FROM clock_timestamp()) * 1000000000)::bigint
        AND NOT EXISTS (SELECT FROM kathikon.limit_holders h WHERE h.name = l.name AND h.key = l.key)
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM kathikon.limits l USING idle WHERE l.name = idle.name AND l.key = idle.key RETURNING 1
)
SELECT count(*) FROM gone
