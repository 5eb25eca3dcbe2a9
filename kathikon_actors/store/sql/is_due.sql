-- Whether a job of these queues (null means all) is due or runs, as committed.
SELECT EXISTS (
    SELECT FROM kathikon.jobs
    WHERE ($1::text[] IS NULL OR queue = ANY ($1)) AND (
        state IN ('available', 'executing') OR (state IN ('scheduled', 'retryable') AND scheduled_at <= clock_timestamp())
    )
)
