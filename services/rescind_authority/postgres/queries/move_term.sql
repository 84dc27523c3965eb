-- Takes one step towards the requested term, with its audit entry, unless a term was changed since
-- version $1: $2 grant_term_ms, $3 wait_term_ms.
-- Served by: the only row.
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
