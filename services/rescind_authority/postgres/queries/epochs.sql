-- Lists the epochs of the ledger, the first one first.
-- Served by: ledger_epochs_pkey.
SELECT epoch, base_seq, base_head, began_at FROM ledger_epochs ORDER BY epoch
