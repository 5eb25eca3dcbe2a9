-- In the order of the keys everywhere, and before rows of jobs, as an insert that meets one of these locks them.
SELECT FROM kathikon.unique_keys WHERE key = ANY ($1::uuid[]) ORDER BY key FOR UPDATE
