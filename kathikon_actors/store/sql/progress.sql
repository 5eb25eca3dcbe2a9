WITH told AS (
    UPDATE kathikon.jobs j SET progress = $2
    WHERE j.id = $1 AND NOT EXISTS (
        SELECT FROM kathikon.nodes n
        WHERE n.node_id = j.owner AND n.left_at IS NULL AND n.lease_until > clock_timestamp()
    )
    RETURNING true
)
SELECT
    EXISTS (SELECT FROM told) AS done, EXISTS (SELECT FROM kathikon.jobs WHERE id = $1) AS live,
    (SELECT state FROM kathikon.finished_jobs WHERE id = $1) AS ended
