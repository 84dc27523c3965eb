-- Ends token $1 at $2 (Unix µs as a time; NULL: now), if it would have ended later. No row: there is
-- no such live token. `over`: that time has come, so the
-- event of this very commit ends the token (append_events); else one is due at expires_at (`ending`).
-- Served by: tokens_pkey.
UPDATE tokens AS t
SET
    expires_at = ends.at,
    ending = t.ending OR ends.over OR ends.at < t.expires_at
FROM (
    SELECT
        token_id,
        greatest(
            issued_at + interval '1 microsecond',
            least(expires_at, coalesce($2::timestamptz, clock.now))
        ) AS at,
        coalesce($2::timestamptz <= clock.now, true) AS over
    FROM (SELECT ledger_now() AS now) AS clock, tokens
    WHERE token_id = $1 AND ended_seq IS NULL AND expires_at > clock.now
    FOR NO KEY UPDATE OF tokens
) AS ends
WHERE t.token_id = ends.token_id
RETURNING ends.over, t AS whole
