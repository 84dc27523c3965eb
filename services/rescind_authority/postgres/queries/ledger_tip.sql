-- Reads the ledger's end, whether this server may speak for it, and which server it is.
-- Served by: the only row.
SELECT
    epoch, seq, head, mac, grant_term_ms, ledger_time(latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery, pg_postmaster_start_time() AS started
FROM ledger_head
