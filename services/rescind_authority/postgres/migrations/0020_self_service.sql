-- What a token's holder may do at the authority with nothing but the token: its rights (NULL: by
-- default), the longest overlap of a rotation (NULL: the default), and whether the use of an old
-- secret is denied and nothing more.
ALTER TABLE tokens
    ADD COLUMN self_service   text[],
    ADD COLUMN max_overlap_us bigint CHECK (max_overlap_us >= 0),
    ADD COLUMN reuse_denies   boolean NOT NULL DEFAULT false;

-- A token ends with each of its ancestors: a parent that is expired early takes along what was
-- delegated from it.

-- As in 0017, and a token has ended once an ancestor of it has.
DROP VIEW token_states;
CREATE VIEW token_states AS
SELECT t.*, coalesce(
    (SELECT 'revoked' FROM revoked_tokens AS r WHERE r.token_id = t.token_id),
    CASE WHEN t.handles && (
        SELECT CASE WHEN count(*) > 64 THEN '{*}' ELSE coalesce(array_agg(anchor), '{}') END
        FROM (
            (
                SELECT anchor FROM revocations
                WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
                    AND effect <> 'narrow'
                LIMIT 65
            )
            UNION ALL
            (
                SELECT anchor FROM revocations
                WHERE effect = 'revoke' AND seq > (SELECT seq FROM sweep)
                ORDER BY seq
                LIMIT 65
            )
        ) AS suspect
    ) THEN (
        -- As core.verdict.standing says: a revoke is named before a suspension, and an unknown
        -- effect revokes unless a suspension holds too.
        SELECT CASE
            WHEN bool_or(effect = 'revoke') OR NOT bool_or(effect = 'suspend') THEN 'revoked'
            WHEN bool_or(effect = 'suspend') THEN 'suspended'
        END
        FROM (
            SELECT * FROM revocations
            WHERE anchor = ANY (t.handles) AND seq > t.issued_seq AND effect = 'revoke'
            UNION ALL
            SELECT * FROM revocations
            WHERE anchor = ANY (t.handles) AND effect <> 'narrow'
                AND effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
        ) AS r
        WHERE r.selector <@ t.handles
            AND (r.issued_before IS NULL OR r.issued_before > (
                SELECT min(family.issued_at) FROM tokens AS family
                WHERE family.token_id = ANY (t.lineage || t.token_id)
                    AND r.selector <@ family.handles
            ))
            AND NOT spares(r.selector, t.handles)
    ) END,
    CASE
        WHEN EXISTS (
            SELECT FROM tokens AS line
            WHERE line.token_id = ANY (t.lineage || t.token_id)
                AND (
                    line.ended_seq IS NOT NULL
                    OR line.expires_at <= (
                        SELECT ledger_time(latest_at, statement_timestamp()) FROM ledger_head
                    )
                )
        ) THEN 'expired'
        ELSE 'active'
    END
) AS state
FROM tokens AS t;
