SELECT kathikon.declare_workers($1, $2, $3, $4, $5)
