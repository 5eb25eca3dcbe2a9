SELECT kathikon.release_keys($1)
