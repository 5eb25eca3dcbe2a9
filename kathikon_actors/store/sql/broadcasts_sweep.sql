WITH over AS (
    DELETE FROM kathikon.broadcasts b
    WHERE b.until < clock_timestamp() - interval '1 day' AND NOT EXISTS (
        SELECT FROM kathikon.deliveries d JOIN kathikon.jobs j ON j.id = d.job_id WHERE d.broadcast_id = b.id
    )
    RETURNING 1
)
SELECT count(*) FROM over
