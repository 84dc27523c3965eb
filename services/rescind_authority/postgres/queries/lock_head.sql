-- Locks the ledger's head, and reads it with the ledger time.
-- The clock is read outside the CTE: next to FOR UPDATE it could be read before the lock is granted.
-- Locks: FOR UPDATE, until the COMMIT. While a transaction has it, no other one appends events.
-- Served by: ledger_head (one row).
WITH head AS MATERIALIZED (
    SELECT epoch, seq, head, mac, grant_term_ms, latest_at FROM ledger_head FOR UPDATE
)
SELECT
    epoch, seq, head, mac, grant_term_ms, ledger_time(latest_at, clock_timestamp()) AS at,
    false AS in_recovery
FROM head
