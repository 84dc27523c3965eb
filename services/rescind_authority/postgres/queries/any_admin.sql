-- Reads whether a live admin token has all the given handles.
-- $1 text[] handles, among them `kind:admin`
-- Served by: tokens_handles.
SELECT EXISTS (
    SELECT FROM tokens
    WHERE handles @> $1::text[] AND kind = 'admin'
        AND ended_seq IS NULL AND expires_at > (SELECT ledger_now())
) AS any_admin
