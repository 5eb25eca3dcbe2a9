SELECT number, answer FROM kathikon.commands WHERE number = ANY ($1::bigint[]) AND answered_at IS NOT NULL
