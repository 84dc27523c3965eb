-- Writes a new secret to a live token, and keeps the old one in retired_secrets.
-- $1 text token id
-- $2 bytea SHA-256 of the secret to replace; NULL: the present one, whichever it is
-- $3 bytea SHA-256 of the new secret
-- $4 bigint overlap in microseconds
-- $5 boolean whether use of the old secret after the overlap revokes the token's tree
-- $6 bytea possession hash of the new secret
-- Returns no row if there is no such live token, or if another rotation replaced the secret $2 first.
-- `before` is the token's row before the change. `over`: there is no overlap, and the event of this
-- transaction ends the old secret (`append_events.sql`).
-- Locks: FOR NO KEY UPDATE of the token, until the COMMIT. Other changes of the token wait.
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
