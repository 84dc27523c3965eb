-- Reads the ledger's end, and whether this server may speak for it.
-- Served by: the only row.
SELECT epoch, seq, head, grant_term_ms, ledger_time(latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery
FROM ledger_head
