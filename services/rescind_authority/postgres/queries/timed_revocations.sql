-- Lists standing revocations that end by themselves, at most $1, the first to end first.
-- Served by: revocations_until.
SELECT
    revocation_id, epoch AS event_epoch, seq, effect, selector, exact, issued_before, until,
    scopes AS removed, lifts, reason, actor, committed_at, ledger_now() AS at
FROM revocations
WHERE until IS NOT NULL AND lifted_at IS NULL AND effect NOT IN ('revoke', 'lift', 'changed')
ORDER BY until
LIMIT $1
