UPDATE kathikon.jobs j SET dependency_results = r.results
FROM unnest($1::uuid[], $2::text[]) AS r (id, results)
WHERE j.id = r.id
