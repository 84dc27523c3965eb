-- Says whether an unexpired admin token has all of these handles; $1 includes kind:admin.
-- Served by: tokens_handles.
SELECT EXISTS (
    SELECT FROM tokens
    WHERE handles @> $1::text[] AND kind = 'admin'
        AND ended_seq IS NULL AND expires_at > (SELECT ledger_now())
) AS any_admin
