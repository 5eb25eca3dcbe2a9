UPDATE kathikon.batches b SET total = b.total + r.number
FROM unnest($1::text[], $2::bigint[]) AS r (id, number)
WHERE b.id = r.id::uuid
