DELETE FROM kathikon.figures WHERE at < clock_timestamp() - interval '1 hour'
