-- Lists revocations, newest first.
-- $1 bigint only those below this seq; NULL: from the newest
-- $2 bigint the most rows
-- Served by: revocations_seq_key.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, lifted_at, false AS killed,
    stamped, CASE WHEN effect = 'revoke' THEN seq <= (SELECT seq FROM sweep) END AS swept
FROM revocations
WHERE seq < coalesce($1, 9223372036854775807)
ORDER BY seq DESC
LIMIT $2
