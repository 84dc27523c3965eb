-- Reads one revocation: of a kill, which is two under one id, the last.
-- Served by: revocations_pkey.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, lifted_at,
    count(*) OVER () > 1 AS killed
FROM revocations
WHERE revocation_id = $1
ORDER BY seq DESC
LIMIT 1
