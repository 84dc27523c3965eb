-- Writes revoked marks to the tokens that a revoke hits, and counts the new marks.
-- $1 bigint seq of the revoke
-- $2 text[] token ids to examine
-- A token that an earlier revoke hit keeps its first mark.
-- The conditions are those of core.revocation.hits, in SQL; a test compares the two.
-- Served by: tokens_pkey, revocations_seq_key, revoked_tokens_pkey.
WITH stamped AS (
    INSERT INTO revoked_tokens (token_id, seq)
    SELECT t.token_id, r.seq
    FROM revocations AS r
    CROSS JOIN unnest($2::text[]) AS named (token_id)
    JOIN tokens AS t USING (token_id)
    WHERE r.seq = $1 AND r.effect = 'revoke' AND r.selector <@ t.handles AND t.issued_seq < r.seq
        AND (r.issued_before IS NULL OR r.issued_before > (
            SELECT min(family.issued_at) FROM tokens AS family
            WHERE family.token_id = ANY (t.lineage || t.token_id) AND r.selector <@ family.handles
        ))
        AND NOT spares(r.selector, t.handles)
    ON CONFLICT (token_id) DO NOTHING
    RETURNING 1
), counted AS (
    SELECT count(*) AS tokens FROM stamped
)
UPDATE revocations SET stamped = revocations.stamped + counted.tokens
FROM counted
WHERE seq = $1
RETURNING counted.tokens
