-- Counts the live admin tokens.
-- Served by: tokens_handles.
SELECT count(*) AS live FROM tokens
WHERE handles @> '{kind:admin}' AND ended_seq IS NULL AND expires_at > (SELECT ledger_now())
