-- Notes that no verifier unknown to the ledger up to epoch $1 is in grace any more.
-- Served by: ledger_epochs_pkey.
UPDATE ledger_epochs SET unknown_grace_ms = NULL
WHERE epoch <= $1 AND unknown_grace_ms IS NOT NULL
