-- Notes that the tokens $1 were used just now: only forward in time, not twice in 15 s (several
-- sidecars report the same token), and without waiting for anybody. A row that somebody else has
-- locked is skipped, so two authorities never wait for each other here: a later report does.
-- Served by: tokens_pkey.
WITH used AS (
    SELECT token_id
    FROM tokens
    WHERE token_id = ANY ($1::text[])
        AND (last_used_at IS NULL OR last_used_at < statement_timestamp() - interval '15 seconds')
    ORDER BY token_id
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE tokens AS t
SET last_used_at = statement_timestamp()
FROM used
WHERE t.token_id = used.token_id
