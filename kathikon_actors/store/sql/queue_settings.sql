SELECT name, paused, concurrency, removed, declaration FROM kathikon.queues
