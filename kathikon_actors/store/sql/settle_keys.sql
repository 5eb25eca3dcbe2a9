SELECT kathikon.settle_keys($1)
