-- Ends the sessions of a subject beyond a number, and returns the ids of those that it ended.
-- $1 text subject
-- $2 bigint how many sessions stay: those that were used last
-- An ended session gets `ending` and an `expires_at` that has passed; its event is due at once
-- (`pending_ends.sql`). Revoked sessions do not count.
-- Locks: FOR NO KEY UPDATE of the sessions that end, in the order of their ids. The caller has locked
-- the subject's sessions against new ones (`lock_sessions`).
-- Served by: tokens_sessions, tokens_pkey.
WITH clock AS MATERIALIZED (
    SELECT ledger_now() AS now
), surplus AS MATERIALIZED (
    SELECT token_id
    FROM token_states, clock
    WHERE subject = $1 AND kind = 'session' AND ended_seq IS NULL
        AND expires_at > clock.now AND state <> 'revoked'
    ORDER BY in_use_until(issued_at, not_before, last_used_at) DESC, token_id DESC
    OFFSET $2
), row AS (
    SELECT t.token_id
    FROM surplus JOIN tokens AS t ON t.token_id = surplus.token_id
    WHERE t.ended_seq IS NULL AND t.expires_at > (SELECT now FROM clock)
    ORDER BY t.token_id
    FOR NO KEY UPDATE OF t
)
UPDATE tokens AS t
SET
    expires_at = greatest(t.issued_at + interval '1 microsecond', clock.now),
    ending = true,
    ending_reason = 'surplus'
FROM row, clock
WHERE t.token_id = row.token_id
RETURNING t.token_id
