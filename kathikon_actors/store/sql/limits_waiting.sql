-- Both parts have an index of their own, and neither is read further than it has to be.
SELECT least((
    SELECT count(*) FROM (
        SELECT FROM kathikon.jobs WHERE owner IS NULL AND state = 'available' AND queue = $1 LIMIT $2
    ) AS ready
) + (
    SELECT count(*) FROM (
        SELECT FROM kathikon.jobs WHERE owner IS NULL AND state IN ('scheduled', 'retryable') AND queue = $1 LIMIT $2
    ) AS due
), $2)
