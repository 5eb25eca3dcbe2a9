SELECT name, declaration::text FROM kathikon.workers ORDER BY declared_at DESC, name LIMIT $1
