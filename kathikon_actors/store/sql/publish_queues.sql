WITH member AS (
    SELECT node_id FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2
),
gone AS (
    DELETE FROM kathikon.node_queues q USING member
    WHERE q.node_id = member.node_id AND NOT q.queue = ANY ($3::text[])
)
INSERT INTO kathikon.node_queues (node_id, queue, concurrency, processes)
SELECT member.node_id, r.queue, r.concurrency, r.processes
FROM member, unnest($3::text[], $4::integer[], $5::integer[]) AS r (queue, concurrency, processes)
ON CONFLICT (node_id, queue) DO UPDATE SET concurrency = excluded.concurrency, processes = excluded.processes
