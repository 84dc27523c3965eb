-- Reads the lease terms, and which one was asked for last: the one granted where none was.
-- Served by: the only row.
SELECT grant_term_ms, wait_term_ms, coalesce(term_target_ms, grant_term_ms) AS target_ms,
    term_version
FROM ledger_head
