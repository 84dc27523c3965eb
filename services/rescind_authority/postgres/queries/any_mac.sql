-- Reads whether an authority has already written row MACs to this database.
-- Served by: ledger_head (one row); a scan of tokens that stops at the first MAC.
SELECT EXISTS (SELECT FROM ledger_head WHERE mac IS NOT NULL)
    OR EXISTS (SELECT FROM tokens WHERE mac IS NOT NULL) AS any_mac
