-- Lists what stands and a lift could end, below seq $1 (NULL: from the newest), newest first, at most
-- $2; of handles $3 (NULL: any) the selector has one. Of a kill, which is two under one id, this is
-- the suspension.
-- Served by: revocations_standing, all of it: there are as many rows as stand; revocations_pkey.
WITH standing AS MATERIALIZED (
    SELECT * FROM revocations
    WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
        AND ($3::text[] IS NULL OR selector && $3)
)
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, lifted_at,
    EXISTS (
        SELECT FROM revocations AS r
        WHERE r.revocation_id = standing.revocation_id AND r.effect = 'revoke'
    ) AS killed,
    NULL AS stamped, NULL AS swept
FROM standing
WHERE $1::bigint IS NULL OR seq < $1
ORDER BY seq DESC
LIMIT $2
