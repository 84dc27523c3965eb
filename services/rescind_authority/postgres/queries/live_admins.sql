-- Counts the admin tokens that have not expired.
-- Served by: tokens_handles.
SELECT count(*) AS live FROM tokens
WHERE handles @> '{kind:admin}' AND expires_at > clock_timestamp()
