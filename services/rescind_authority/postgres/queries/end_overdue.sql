-- Locks token $1, or its retired secret with SHA-256 $2 where that is not NULL, if an event is due that
-- ends it. No row: it has ended, or will not end by an event.
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
