-- Sessions end when they were not used for a while, and when a subject has more than so many.

-- Sessions that end after so long without a use, and when to look at each again. A table of its own:
-- that time moves with every look, and in `tokens` each move would write all of its indexes anew.
CREATE TABLE idle_timeouts (
    token_id text        PRIMARY KEY,
    idle_us  bigint      NOT NULL CHECK (idle_us > 0),
    look_at  timestamptz NOT NULL
);
CREATE INDEX idle_timeouts_look_at ON idle_timeouts (look_at);

-- Why the end of a token was moved; NULL: the command that moved it says so.
ALTER TABLE tokens ADD COLUMN ending_reason text;

-- The sessions of a subject that no event has ended.
CREATE INDEX tokens_sessions ON tokens (subject) WHERE kind = 'session' AND ended_seq IS NULL;

-- When a token was last known to be in use; its issue, and its first moment, count as a use.
CREATE FUNCTION in_use_until(
    issued_at timestamptz, not_before timestamptz, last_used_at timestamptz
) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN greatest(issued_at, not_before, last_used_at);
