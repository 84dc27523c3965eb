-- Reads and locks a receipt.
-- $1 text revocation id
-- Locks: FOR UPDATE. A lock makes the transaction one that writes, so its COMMIT waits for the standby.
-- Without that wait, this could return a receipt whose own COMMIT was cut off and is not durable yet.
-- Served by: receipts_pkey.
SELECT envelope FROM receipts WHERE revocation_id = $1 FOR UPDATE
