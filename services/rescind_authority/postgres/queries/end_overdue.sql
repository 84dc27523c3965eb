-- Reads and locks a token, or a rotated secret, for the event that ends it.
-- $1 text token id
-- $2 bytea SHA-256 of the rotated secret; NULL: the token itself
-- Returns no row if it has ended, or if no event is to end it.
-- Locks: FOR NO KEY UPDATE of the rows that it returns, until the event is committed. Another authority
-- that would commit the same end waits, and then finds no row.
-- Served by: tokens_pkey, retired_secrets_pkey.
WITH token AS (
    SELECT t AS whole, NULL::retired_secrets AS secret FROM tokens AS t
    WHERE token_id = $1 AND $2::bytea IS NULL AND ending AND ended_seq IS NULL
    FOR NO KEY UPDATE
), secret AS (
    SELECT t AS whole, s AS secret
    FROM tokens AS t JOIN retired_secrets AS s ON s.token_id = t.token_id
    WHERE t.token_id = $1 AND s.token_hash = $2 AND s.ended_seq IS NULL
    FOR NO KEY UPDATE
)
SELECT whole, secret FROM token UNION ALL SELECT whole, secret FROM secret
