-- Lists standing revocations with a time of lifting, the earliest first.
-- $1 bigint the most rows
-- Served by: revocations_until.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, ledger_now() AS at
FROM revocations
WHERE until IS NOT NULL AND lifted_at IS NULL AND effect NOT IN ('revoke', 'lift', 'changed')
ORDER BY until
LIMIT $1
