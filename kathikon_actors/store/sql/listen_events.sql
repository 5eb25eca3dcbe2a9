-- Those that went without a word are forgotten by the next one that comes.
WITH gone AS (
    DELETE FROM kathikon.listeners WHERE id <> $1 AND lease_until < clock_timestamp() - interval '1 minute'
)
INSERT INTO kathikon.listeners (id, kinds, lease_until)
VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second')
ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
