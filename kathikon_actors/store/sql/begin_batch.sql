BEGIN;
UPDATE kathikon.lanes SET batch = {batch:d}
WHERE node_id = {node_id:d} AND lane = {lane:d} AND epoch = {epoch:d} AND session = {session:d}
