-- Of these jobs unique_keys says which keys they hold.
UPDATE kathikon.jobs SET holds_key = NULL WHERE id = ANY ($1::text[]::uuid[])
