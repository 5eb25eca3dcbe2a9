-- What a node that is not a member any more says does not count.
WITH declared AS (
    SELECT r.queue, r.max_depth, r.on_full
    FROM unnest($3::text[], $4::integer[], $5::text[]) AS r (queue, max_depth, on_full)
    WHERE EXISTS (SELECT FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2)
),
gone AS (
    DELETE FROM kathikon.queue_limits l USING declared d WHERE l.queue = d.queue AND d.max_depth IS NULL
)
INSERT INTO kathikon.queue_limits AS l (queue, max_depth, on_full)
SELECT queue, max_depth, on_full FROM declared WHERE max_depth IS NOT NULL ORDER BY queue
ON CONFLICT (queue) DO UPDATE SET max_depth = excluded.max_depth, on_full = excluded.on_full
WHERE (l.max_depth, l.on_full) IS DISTINCT FROM (excluded.max_depth, excluded.on_full)
