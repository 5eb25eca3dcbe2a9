DELETE FROM kathikon.commands
WHERE answered_at < clock_timestamp() - interval '1 hour'
    OR (node_id IS NOT NULL AND asked_at < clock_timestamp() - interval '1 hour')
