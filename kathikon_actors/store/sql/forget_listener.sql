DELETE FROM kathikon.listeners WHERE id = $1
