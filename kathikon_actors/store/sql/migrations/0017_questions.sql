-- What somebody outside wants to know of a node: a command that is about no job, and is of use only while one waits.

ALTER TABLE kathikon.commands ALTER COLUMN job_id DROP NOT NULL, ADD COLUMN node_id integer;

COMMENT ON COLUMN kathikon.commands.value IS
    'The delay of a retry in seconds, the percent of a progress, the seconds for which one waits for an answer.';
COMMENT ON COLUMN kathikon.commands.node_id IS 'Of a question: the node that is asked; it is about no job.';
COMMENT ON COLUMN kathikon.commands.answer IS
    '"done", "not found", or the state in which it is not possible; of a question its answer as JSON.';
