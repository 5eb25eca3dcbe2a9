INSERT INTO kathikon.dependencies (parent_id, child_id)
SELECT r.parent::uuid, r.child::uuid FROM unnest($1::text[], $2::text[]) AS r (parent, child)
ON CONFLICT DO NOTHING
