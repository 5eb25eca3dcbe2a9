SELECT refused, holder FROM kathikon.retake_keys($1, $2)
