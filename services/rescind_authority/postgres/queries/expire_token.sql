-- Moves the end of a live token to an earlier time.
-- $1 text token id
-- $2 timestamptz new end, if it is before the present one; NULL: now
-- Returns no row if there is no such live token. `over`: the new end has passed, and the event of this
-- transaction ends the token (`append_events.sql`). Otherwise `ending` is set, and an event ends the
-- token at `expires_at`.
-- Locks: FOR NO KEY UPDATE of the token, until the COMMIT. Other changes of the token wait.
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
