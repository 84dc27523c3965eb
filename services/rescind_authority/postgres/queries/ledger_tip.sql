-- Reads the ledger's end, whether the server is a standby, and which server it is.
-- Served by: ledger_head (one row).
SELECT
    epoch, seq, head, mac, grant_term_ms, ledger_time(latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery, pg_postmaster_start_time() AS started
FROM ledger_head
