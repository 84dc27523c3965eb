-- Writes the MAC $1 of the ledger's end.
-- Served by: the only row, which is locked already.
UPDATE ledger_head SET mac = $1
