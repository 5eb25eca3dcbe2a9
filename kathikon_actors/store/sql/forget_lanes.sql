-- It owns nothing more; without lanes it can own nothing before its next life.
DELETE FROM kathikon.lanes WHERE node_id = $1
