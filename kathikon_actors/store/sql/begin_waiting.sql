SELECT kathikon.begin_waiting($1)
