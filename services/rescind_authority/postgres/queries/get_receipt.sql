-- Reads a receipt, and locks it: so there is something to commit, and only a commit of our own proves
-- that the receipt is durable where a standby confirms commits. The one that kept it may have been cut
-- off, and is visible here all the same.
-- Served by: receipts_pkey.
SELECT envelope FROM receipts WHERE revocation_id = $1 FOR UPDATE
