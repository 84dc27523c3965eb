-- Notes that no verifier unknown to epoch $1 of the ledger is in grace any more.
-- Served by: ledger_epochs_pkey.
UPDATE ledger_epochs SET unknown_grace_ms = NULL
WHERE epoch = $1 AND unknown_grace_ms IS NOT NULL
