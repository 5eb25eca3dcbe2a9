SELECT pg_notify('kathikon_events', payload) FROM unnest($1::text[]) AS e (payload)
