-- Locked in one order, so that two leaders wait for each other; the second finds the ticks settled.
WITH due AS (
    SELECT
        r.name, r.revision, timestamptz '1970-01-01 00:00Z' + r.after * interval '1 microsecond' AS after,
        timestamptz '1970-01-01 00:00Z' + r.until * interval '1 microsecond' AS until
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS r (name, revision, after, until)
),
locked AS (
    SELECT c.name, d.after, d.until
    FROM kathikon.crons c JOIN due d USING (name)
    WHERE c.revision = d.revision AND c.last_tick = d.after AND NOT c.paused AND NOT c.removed
    ORDER BY c.name
    FOR UPDATE OF c
)
UPDATE kathikon.crons c SET last_tick = l.until FROM locked l
WHERE c.name = l.name AND c.last_tick = l.after
RETURNING c.name
