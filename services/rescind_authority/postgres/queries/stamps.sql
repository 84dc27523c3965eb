-- Says whether a stamp is on all that is revoked, whether anything can be suspended, and about how many
-- stamps there are.
-- Served by: revocations_seq_key, revocations_standing; a stamp takes 72 bytes.
SELECT
    NOT EXISTS (
        SELECT FROM revocations WHERE effect = 'revoke' AND seq > (SELECT seq FROM sweep)
    ) AND NOT EXISTS (
        SELECT FROM revocations
        WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
            AND effect NOT IN ('suspend', 'narrow')
    ) AS complete,
    EXISTS (
        SELECT FROM revocations
        WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
            AND effect <> 'narrow'
    ) AS suspending,
    pg_relation_size('revoked_tokens') / 72 AS tokens
