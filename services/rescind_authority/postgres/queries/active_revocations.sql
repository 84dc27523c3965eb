-- Lists what stands and a lift could end, below seq $1 (NULL: from the newest), newest first, at most
-- $2; of handles $3 (NULL: any) the selector has one. Of a kill, which is two under one id, this is
-- the suspension.
-- Served by: revocations_standing_seq, with handles as far down as it takes; revocations_pkey.
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
