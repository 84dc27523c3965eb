-- Reads whether every revoked token has a revoked mark, whether a suspension is standing, and about how
-- many marks there are.
-- `complete` also requires that no revocation with an unknown effect is standing.
-- Served by: revocations_seq_key, revocations_standing; the size of revoked_tokens (72 bytes a mark).
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
