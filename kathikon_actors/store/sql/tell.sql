-- Whoever listens may claim; too many names for one message mean any queue.
SELECT pg_notify('kathikon_unowned', CASE WHEN length($1::text) < 7900 THEN $1 ELSE '' END)
