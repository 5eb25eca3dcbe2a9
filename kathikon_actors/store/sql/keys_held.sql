-- Whether unique_keys has one of these, of a job that may hold it. Each is looked up by itself, as in finish_rows.
SELECT EXISTS (
    SELECT FROM unnest($1::uuid[]) AS r (key) CROSS JOIN LATERAL (
        SELECT FROM kathikon.unique_keys k
        WHERE k.key = r.key AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
        OFFSET 0
    ) AS held
)
