-- Reads the lease terms, and the term that was requested last.
-- `target_ms` is the grant term if none was requested.
-- Served by: ledger_head (one row).
SELECT grant_term_ms, wait_term_ms, coalesce(term_target_ms, grant_term_ms) AS target_ms,
    term_version
FROM ledger_head
