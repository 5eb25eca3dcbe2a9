SELECT
    set_config('kathikon.node', $1, false), set_config('kathikon.queues', $2, false),
    set_config('client_min_messages', 'notice', false)
