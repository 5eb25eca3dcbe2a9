SELECT queue, max_depth, kathikon.queue_depth(queue, max_depth) AS depth
FROM kathikon.queue_limits
WHERE on_full = 'refuse' AND queue = ANY ($1::text[])
