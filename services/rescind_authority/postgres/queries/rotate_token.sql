-- Gives token $1 the secret with SHA-256 $3 in place of its own, which must be $2 (NULL: whichever
-- it is) and stays good for $4 microseconds; $5 says whether its use after that ends the tree. No
-- row: there is no such live token, or somebody rotated it first.
-- Served by: tokens_pkey, retired_secrets_pkey.
WITH old AS (
    SELECT token_id, token_hash, expires_at, clock_timestamp() AS at
    FROM tokens
    WHERE token_id = $1 AND ($2::bytea IS NULL OR token_hash = $2)
        AND expires_at > clock_timestamp()
    FOR NO KEY UPDATE
), retired AS (
    INSERT INTO retired_secrets (token_hash, token_id, retired_at, good_until, revokes)
    SELECT token_hash, token_id, at, least(expires_at, at + $4 * interval '1 microsecond'), $5
    FROM old
)
UPDATE tokens SET token_hash = $3
FROM old
WHERE tokens.token_id = old.token_id
RETURNING tokens.token_id
