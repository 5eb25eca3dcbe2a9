-- The partitions of fair queues among the rows that nobody owns.
CREATE INDEX jobs_fair ON kathikon.jobs (queue, partition_key, priority DESC, scheduled_at, id)
    WHERE owner IS NULL AND state = 'available' AND partition_key IS NOT NULL;
