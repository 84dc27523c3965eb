-- Locks the ledger's end, and reads it and the ledger's time under the lock.
-- The clock stands outside the CTE: beside FOR UPDATE it could be read before the lock was had.
-- Served by: the only row.
WITH head AS MATERIALIZED (
    SELECT epoch, seq, head, mac, grant_term_ms, latest_at FROM ledger_head FOR UPDATE
)
SELECT
    epoch, seq, head, mac, grant_term_ms, ledger_time(latest_at, clock_timestamp()) AS at,
    false AS in_recovery
FROM head
