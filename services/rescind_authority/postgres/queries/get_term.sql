-- Reads the lease terms, and the one that was requested last: the granted one if there was no request.
-- Served by: the only row.
SELECT grant_term_ms, wait_term_ms, coalesce(term_target_ms, grant_term_ms) AS target_ms,
    term_version
FROM ledger_head
