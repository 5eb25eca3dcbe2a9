UPDATE kathikon.commands c
SET answered_at = clock_timestamp(), answer = r.answer
FROM unnest($1::bigint[], $2::text[]) AS r (number, answer)
WHERE c.number = r.number AND c.answered_at IS NULL
