-- Reads one revocation.
-- $1 text revocation id
-- A kill is two revocations under one id; this reads the last one, with `killed`.
-- `stamped`: how many tokens got a revoked mark. `swept`: all of them have one. NULL: it has no revoke.
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
