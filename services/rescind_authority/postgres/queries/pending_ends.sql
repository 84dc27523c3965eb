-- Lists the tokens and the rotated secrets that an event is to end, the earliest end first.
-- $1 bigint the most rows
-- `token_hash` NULL: the token itself ends.
-- Served by: tokens_ending, retired_secrets_ending.
SELECT token_id, token_hash, at, reason, ledger_now() AS now
FROM (
    (
        SELECT token_id, NULL AS token_hash, expires_at AS at, ending_reason AS reason FROM tokens
        WHERE ending AND ended_seq IS NULL
        ORDER BY expires_at
        LIMIT $1
    )
    UNION ALL
    (
        SELECT token_id, token_hash, good_until, NULL FROM retired_secrets
        WHERE ended_seq IS NULL
        ORDER BY good_until
        LIMIT $1
    )
) AS pending
ORDER BY at, token_id
LIMIT $1
