-- Reads one revocation: of a kill, which is two under one id, the last. With what the sweep stamped
-- for its revoke, and whether that is all; NULL where it has none.
-- Served by: revocations_pkey.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, lifted_at,
    count(*) OVER () > 1 AS killed,
    sum(stamped) OVER ()::bigint AS stamped,
    min(seq) FILTER (WHERE effect = 'revoke') OVER () <= (SELECT seq FROM sweep) AS swept
FROM revocations
WHERE revocation_id = $1
ORDER BY seq DESC
LIMIT 1
