SELECT queue FROM kathikon.queue_limits WHERE on_full = 'refuse' AND queue = ANY ($1::text[])
