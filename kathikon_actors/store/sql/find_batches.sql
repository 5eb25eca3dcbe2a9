SELECT * FROM kathikon.all_batches WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2
