-- Waits for the commits in flight of the earlier life; afterwards it commits nothing more.
INSERT INTO kathikon.lanes (node_id, lane, epoch)
SELECT $1, lane, $2 FROM generate_series(0, 3) AS lane
ON CONFLICT (node_id, lane) DO UPDATE SET epoch = excluded.epoch, session = kathikon.lanes.session + 1, batch = 0
