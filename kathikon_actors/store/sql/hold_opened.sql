SELECT FROM kathikon.batch_counts
WHERE id = ANY (ARRAY (SELECT id FROM kathikon.batches WHERE parent_id = ANY ($1::uuid[])))
ORDER BY id DESC
FOR UPDATE
