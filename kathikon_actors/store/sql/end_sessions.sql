-- The sessions of a life that holds the name but let its lease run out: a stopped process, a cut network.
SELECT count(pg_terminate_backend(a.pid))
FROM pg_stat_activity a
WHERE a.application_name = 'kathikon' AND a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.pid IN (
    SELECT l.pid FROM pg_locks l
    WHERE l.locktype = 'advisory' AND l.classid = $1::integer::oid AND l.objid = $2::integer::oid AND l.objsubid = 2
        AND l.granted
    UNION ALL
    SELECT lanes.backend FROM kathikon.lanes WHERE node_id = $2
)
