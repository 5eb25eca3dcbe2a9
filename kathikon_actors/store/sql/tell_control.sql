SELECT pg_notify('kathikon_control', $1)
