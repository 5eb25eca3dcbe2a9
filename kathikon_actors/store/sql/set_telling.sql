SELECT set_config('kathikon.telling', $1, false), set_config('client_min_messages', 'notice', false)
