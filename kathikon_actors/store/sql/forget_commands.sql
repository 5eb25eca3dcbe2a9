DELETE FROM kathikon.commands WHERE answered_at < clock_timestamp() - interval '1 hour'
