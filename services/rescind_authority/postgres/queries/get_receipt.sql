-- Reads a receipt.
-- Served by: receipts_pkey.
SELECT envelope FROM receipts WHERE revocation_id = $1
