INSERT INTO kathikon.batches (
    id, opened_at, needed, parent_id, outer_id, run_at, name, on_complete, on_success, on_failure
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (id) DO NOTHING
