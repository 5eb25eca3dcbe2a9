-- Lines that come meanwhile are not seen, and stay.
WITH gone AS (DELETE FROM kathikon.finished_counts RETURNING number, queue, worker, state)
INSERT INTO kathikon.finished_counts (number, queue, worker, state)
SELECT sum(number), queue, worker, state FROM gone
GROUP BY queue, worker, state
HAVING sum(number) <> 0
