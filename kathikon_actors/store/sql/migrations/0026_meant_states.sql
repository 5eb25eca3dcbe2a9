-- The states that a command is meant for: its owner knows better than the store in which one a job is.

ALTER TABLE kathikon.commands ADD COLUMN states text[];

COMMENT ON COLUMN kathikon.commands.states IS 'Only a job in one of these is meant, as its owner knows it; NULL: in any.';
COMMENT ON COLUMN kathikon.commands.answer IS
    '"done", "not found", "not meant", or the state in which it is not possible; of a question its answer as JSON.';
