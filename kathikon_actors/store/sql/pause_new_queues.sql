-- Of two nodes that declare a queue at once, and an operator who resumes it, the operator has the last word.
INSERT INTO kathikon.queues (name, paused)
SELECT unnest($1::text[]), true
ON CONFLICT (name) DO NOTHING
