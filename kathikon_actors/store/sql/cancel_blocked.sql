SELECT kathikon.cancel_blocked($1::text[]::uuid[])
