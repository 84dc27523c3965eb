-- Lists the revocations that a lift could end, newest first.
-- $1 bigint only those below this seq; NULL: from the newest
-- $2 bigint the most rows
-- $3 text[] only selectors that contain one of these handles; NULL: every selector
-- A kill is two revocations under one id; this lists its suspension, with `killed`.
-- Served by: revocations_standing_seq, read until $2 rows match; revocations_pkey.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, lifted_at,
    first.revokes IS NOT NULL AS killed, NULL AS stamped, NULL AS swept
FROM revocations AS standing
LEFT JOIN LATERAL (
    SELECT true AS revokes FROM revocations AS r
    WHERE r.revocation_id = standing.revocation_id AND r.effect = 'revoke'
    LIMIT 1
) AS first ON true
WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
    AND seq < coalesce($1, 9223372036854775807)
    AND ($3::text[] IS NULL OR selector && $3)
ORDER BY seq DESC
LIMIT $2
