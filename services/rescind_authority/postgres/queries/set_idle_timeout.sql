-- Has token $1, issued at $2, end after $3 microseconds without a use, and first looks at it then.
-- Served by: idle_timeouts_pkey.
INSERT INTO idle_timeouts (token_id, idle_us, look_at)
VALUES ($1, $3::bigint, $2::timestamptz + $3::bigint * interval '1 microsecond')
