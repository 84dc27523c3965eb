-- Sets the end of the sessions of subject $1 but for the $2 that were used last; the event that ends
-- each is due at once (pending_ends). What was revoked does not count.
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
