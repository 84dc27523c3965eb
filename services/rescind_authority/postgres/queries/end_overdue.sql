-- Locks token $1, or its retired secret with SHA-256 $2 where that is not NULL, if an event is due that
-- ends it. No row: it has ended, or will not end by an event.
-- Served by: tokens_pkey, retired_secrets_pkey.
WITH token AS (
    SELECT token_id FROM tokens
    WHERE token_id = $1 AND $2::bytea IS NULL AND ending AND ended_seq IS NULL
    FOR NO KEY UPDATE
), secret AS (
    SELECT token_id FROM retired_secrets
    WHERE token_id = $1 AND token_hash = $2 AND ended_seq IS NULL
    FOR NO KEY UPDATE
)
SELECT token_id FROM token UNION ALL SELECT token_id FROM secret
