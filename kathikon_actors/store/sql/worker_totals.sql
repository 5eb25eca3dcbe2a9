SELECT worker, state, sum(number)::bigint AS number FROM kathikon.finished_counts GROUP BY worker, state
