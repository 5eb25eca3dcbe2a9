-- Read after the locks: whoever holds them later sees a later time.
SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
