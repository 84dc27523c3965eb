-- Moves the lease terms one step towards the requested term, and writes the audit entry.
-- $1 bigint term_version that the caller read
-- $2 bigint new grant_term_ms
-- $3 bigint new wait_term_ms
-- Returns no row, and changes nothing, if a term was changed since that version.
-- Served by: ledger_head (one row).
WITH moved AS (
    UPDATE ledger_head
    SET grant_term_ms = $2, wait_term_ms = $3, term_version = term_version + 1
    WHERE term_version = $1
    RETURNING 1
)
INSERT INTO audit (at, actor, action, target, detail)
SELECT clock_timestamp(), 'rescind', 'term.moved', 'term',
    jsonb_build_object('grant_term_ms', $2::bigint, 'wait_term_ms', $3::bigint)
FROM moved
RETURNING 1
