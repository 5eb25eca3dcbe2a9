INSERT INTO kathikon.broadcasts (id, queue, until)
SELECT r.id, r.queue, clock_timestamp() + r.seconds * interval '1 second'
FROM unnest($1::uuid[], $2::text[], $3::double precision[]) AS r (id, queue, seconds)
ON CONFLICT DO NOTHING
