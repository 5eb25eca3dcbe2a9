-- The last column tells whether it is the job's row that holds the key. Each is looked up by itself, as in finish_rows.
SELECT r.key, h.job_id::text, h.by_row
FROM unnest($1::text[]) AS r (key) CROSS JOIN LATERAL (
    SELECT job_id, false AS by_row FROM kathikon.unique_keys WHERE key = r.key::uuid
    UNION ALL
    SELECT id, true FROM kathikon.jobs WHERE holds_key AND unique_key = r.key::uuid
    OFFSET 0
) AS h
