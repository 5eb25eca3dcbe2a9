SELECT pg_advisory_xact_lock($1::integer, hashtext(q.name)) FROM unnest($2::text[]) AS q (name)
