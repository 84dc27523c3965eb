-- Writes the requested lease term and its audit entry, and returns the terms.
-- $1 bigint requested term in ms
-- $2 text actor
-- Served by: ledger_head (one row).
WITH asked AS (
    UPDATE ledger_head SET term_target_ms = $1, term_version = term_version + 1
    RETURNING grant_term_ms, wait_term_ms, term_target_ms AS target_ms, term_version
), noted AS (
    INSERT INTO audit (at, actor, action, target, detail)
    SELECT clock_timestamp(), $2, 'term.asked', 'term',
        jsonb_build_object('term_ms', target_ms, 'grant_term_ms', grant_term_ms,
            'wait_term_ms', wait_term_ms)
    FROM asked
)
SELECT grant_term_ms, wait_term_ms, target_ms, term_version FROM asked
