-- Ends token $1 at $2 (Unix µs as a time; NULL: now), if it would have ended later. No row: there is
-- no such live token. A token that was not good yet never will be.
-- Served by: tokens_pkey.
UPDATE tokens AS t
SET
    expires_at = ends.at,
    not_before = CASE WHEN t.not_before < ends.at THEN t.not_before END
FROM (
    SELECT
        token_id,
        greatest(
            issued_at + interval '1 microsecond',
            least(expires_at, coalesce($2::timestamptz, clock_timestamp()))
        ) AS at
    FROM tokens
    WHERE token_id = $1 AND expires_at > clock_timestamp()
    FOR NO KEY UPDATE
) AS ends
WHERE t.token_id = ends.token_id
RETURNING t.token_id
