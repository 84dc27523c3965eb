-- Lists the epochs of the ledger, oldest first.
-- Served by: ledger_epochs_pkey.
SELECT epoch, base_seq, base_head, began_at FROM ledger_epochs ORDER BY epoch
