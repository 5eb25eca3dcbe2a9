-- Which of these rows were stored by an earlier try of the same batch? Those meant for anybody may have been claimed.
SELECT r.id
FROM unnest($2::uuid[], $3::timestamptz[]) AS r (id, inserted_at)
WHERE EXISTS (
    SELECT FROM kathikon.jobs j
    WHERE j.id = r.id AND j.inserted_at = r.inserted_at AND (j.owner = $1 OR r.id = ANY ($4::uuid[]))
) OR EXISTS (
    SELECT FROM kathikon.finished_jobs f
    WHERE f.id = r.id AND f.inserted_at = r.inserted_at AND (f.owner = $1 OR r.id = ANY ($4::uuid[]))
) OR EXISTS (
    SELECT FROM kathikon.archived_jobs f
    WHERE f.id = r.id AND f.inserted_at = r.inserted_at AND (f.owner = $1 OR r.id = ANY ($4::uuid[]))
)
