-- Those for this node's own jobs, and those for jobs that no node owns (any more): whoever comes first does them. And
-- the questions that this node is asked, while somebody waits for the answer.
SELECT c.number, c.job_id, c.action, c.at, c.value, c.states
FROM kathikon.commands c
LEFT JOIN kathikon.jobs j ON j.id = c.job_id
WHERE c.answered_at IS NULL AND c.number > $2 AND (
    c.node_id = $1 AND c.asked_at + c.value * interval '1 second' > clock_timestamp()
    OR c.node_id IS NULL AND (j.owner IS NULL OR j.owner = $1)
)
ORDER BY c.number
LIMIT $3
