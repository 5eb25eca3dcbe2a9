-- One statement, so all or nothing: the fence, the new version, and the end of the one before the last.
WITH held AS (
    SELECT node_id FROM kathikon.lanes WHERE node_id = $1 AND lane = 2 AND epoch = $2 FOR SHARE
), newest AS (
    SELECT coalesce(max(version), 0) AS version FROM kathikon.snapshots WHERE node_id = $1 AND actor = $3
), old AS (
    DELETE FROM kathikon.snapshots AS s USING held, newest
    WHERE s.node_id = $1 AND s.actor = $3 AND s.version < newest.version
)
INSERT INTO kathikon.snapshots (version, taken_at, node_id, actor, codec, state)
SELECT newest.version + 1, clock_timestamp(), $1, $3, $4, $5 FROM held, newest
RETURNING version
