-- Writes that no unknown verifier of an epoch can be in grace any more.
-- $1 bigint this epoch and all earlier ones
-- Served by: ledger_epochs_pkey.
UPDATE ledger_epochs SET unknown_grace_ms = NULL
WHERE epoch <= $1 AND unknown_grace_ms IS NOT NULL
