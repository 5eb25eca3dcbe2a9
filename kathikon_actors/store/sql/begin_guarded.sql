SELECT kathikon.begin_guarded($1, $2, $3, $4)
