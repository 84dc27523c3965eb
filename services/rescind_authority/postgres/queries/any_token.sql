-- Says whether there is a token that has not ended.
-- Served by: a scan that ends at the first one; the newest are at its end, and most are live.
SELECT EXISTS (
    SELECT FROM tokens WHERE ended_seq IS NULL AND expires_at > (SELECT ledger_now())
) AS any_token
