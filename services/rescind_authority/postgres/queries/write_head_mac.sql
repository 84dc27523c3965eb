-- Writes the MAC of the ledger's head.
-- $1 bytea MAC
-- Locks: the caller has locked the head (`lock_head`).
-- Served by: ledger_head (one row).
UPDATE ledger_head SET mac = $1
