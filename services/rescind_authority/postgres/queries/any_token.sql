-- Reads whether there is a live token.
-- Served by: a scan of tokens that stops at the first live one. Most tokens are live.
SELECT EXISTS (
    SELECT FROM tokens WHERE ended_seq IS NULL AND expires_at > (SELECT ledger_now())
) AS any_token
