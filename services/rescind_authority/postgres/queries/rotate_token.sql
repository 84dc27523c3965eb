-- Gives token $1 the secret with SHA-256 $3 in place of its own. The own secret must be $2 (NULL: any),
-- and stays good for $4 microseconds; $5: its use after that ends the tree. $6 is the possession hash
-- of the new secret; that of the old one moves with it. No row: there is no such live token, or another
-- call rotated it first. `before` is the row as it was; `over`: the old secret has no overlap, so the
-- event of this very commit ends it (append_events).
-- Served by: tokens_pkey, retired_secrets_pkey.
WITH old AS (
    SELECT tokens AS whole, token_id, token_hash, possession_hash, expires_at, clock.now AS at
    FROM (SELECT ledger_now() AS now) AS clock, tokens
    WHERE token_id = $1 AND ($2::bytea IS NULL OR token_hash = $2)
        AND ended_seq IS NULL AND expires_at > clock.now
    FOR NO KEY UPDATE OF tokens
), retired AS (
    INSERT INTO retired_secrets (
        token_hash, token_id, retired_at, good_until, revokes, possession_hash
    )
    SELECT
        token_hash, token_id, at, least(expires_at, at + $4 * interval '1 microsecond'), $5,
        possession_hash
    FROM old
    RETURNING retired_secrets AS whole
)
UPDATE tokens SET token_hash = $3, possession_hash = $6
FROM old, retired
WHERE tokens.token_id = old.token_id
RETURNING old.whole AS before, tokens AS whole, retired.whole AS secret, $4 <= 0 AS over
