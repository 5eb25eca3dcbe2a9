SELECT * FROM kathikon.all_batches WHERE id = $1
