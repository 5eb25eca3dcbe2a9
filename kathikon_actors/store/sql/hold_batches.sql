-- Held until the end of the transaction: nobody seals them meanwhile.
SELECT id::text, sealed_at IS NULL FROM kathikon.batches WHERE id = ANY ($1::text[]::uuid[]) ORDER BY id FOR UPDATE
