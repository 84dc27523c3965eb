-- Writes the idle timeout of a session.
-- $1 text token id
-- $2 timestamptz start of the timeout: when the session was issued, or when it becomes valid
-- $3 bigint longest time, in microseconds, without a use
-- `end_idle.sql` first examines the session when the timeout has passed once.
-- Served by: idle_timeouts_pkey.
INSERT INTO idle_timeouts (token_id, idle_us, look_at)
VALUES ($1, $3::bigint, $2::timestamptz + $3::bigint * interval '1 microsecond')
