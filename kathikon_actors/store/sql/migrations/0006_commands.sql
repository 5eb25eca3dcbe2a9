-- What operators want of jobs that a live node owns: kept until it is carried out, by that node or by whoever owns the
-- job then.

CREATE TABLE kathikon.commands (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    answered_at timestamptz,
    at bigint NOT NULL,
    value double precision NOT NULL DEFAULT 0,
    job_id uuid NOT NULL,
    action text NOT NULL,
    answer text
);
CREATE INDEX commands_open ON kathikon.commands (number) WHERE answered_at IS NULL;

COMMENT ON TABLE kathikon.commands IS 'What operators want of jobs that a live node owns.';
COMMENT ON COLUMN kathikon.commands.at IS 'When it was asked for, microseconds since 1970: the time in the history.';
COMMENT ON COLUMN kathikon.commands.value IS 'The delay of a retry in seconds, the percent of a progress.';
COMMENT ON COLUMN kathikon.commands.answer IS '"done", "not found", or the state in which it is not possible.';

CREATE FUNCTION kathikon.holds(doc jsonb, needs jsonb) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT NOT EXISTS (
        SELECT FROM pg_catalog.jsonb_array_elements(needs) AS n (choices)
        WHERE NOT EXISTS (SELECT FROM pg_catalog.jsonb_array_elements(n.choices) AS c (part) WHERE doc OPERATOR(pg_catalog.@>) c.part)
    )
$$;

COMMENT ON FUNCTION kathikon.holds IS 'Whether a document contains, for each entry of a list, one of its values.';
