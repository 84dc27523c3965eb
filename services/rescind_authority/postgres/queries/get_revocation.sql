-- Reads one revocation.
-- Served by: revocations_pkey.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, reason, actor, committed_at, lifted_at
FROM revocations
WHERE revocation_id = $1
