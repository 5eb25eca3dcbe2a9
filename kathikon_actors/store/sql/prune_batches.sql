WITH old AS (
    DELETE FROM kathikon.batch_counts
    WHERE id = ANY (ARRAY (SELECT id FROM kathikon.batch_counts WHERE resolved_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED))
    RETURNING id
),
gone AS (DELETE FROM kathikon.batches b USING old WHERE b.id = old.id RETURNING b.id)
SELECT id FROM gone
