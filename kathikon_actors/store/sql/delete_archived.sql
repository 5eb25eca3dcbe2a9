DELETE FROM kathikon.archived_jobs
WHERE id = ANY (ARRAY (
    SELECT id FROM kathikon.archived_jobs
    WHERE finished_at < clock_timestamp() - $1 * interval '1 second'
    LIMIT $2
    FOR UPDATE SKIP LOCKED
))
