SELECT kathikon.resolve_batch($1)
