INSERT INTO kathikon.batch_counts (id) VALUES ($1)
