-- Lists token ids, newest first: those with all the handles $1, in state $2 (NULL: any), whose id
-- lies before $3 (NULL: from the newest), at most $4. `held` says in SQL what
-- core.revocation.hits says; a test compares the two.
-- Served by: tokens_pkey backwards for few handles or common ones, tokens_handles for rare ones;
-- revocations_anchor, revocations_standing.
SELECT t.token_id
FROM (
    SELECT
        token_id,
        CASE
            WHEN held.finally THEN 'revoked'
            WHEN NOT held.finally THEN 'suspended'
            WHEN expires_at <= statement_timestamp() THEN 'expired'
            ELSE 'active'
        END AS state
    FROM tokens
    CROSS JOIN LATERAL (
        -- NULL when nothing holds it. As core.verdict.standing says: a revoke is named before a
        -- suspension, and an unknown effect revokes unless a suspension holds too.
        SELECT bool_or(r.effect = 'revoke') OR NOT bool_or(r.effect = 'suspend') AS finally
        FROM (
            SELECT * FROM revocations
            WHERE anchor = ANY (tokens.handles) AND seq > tokens.issued_seq
                AND effect = 'revoke'
            UNION ALL
            SELECT * FROM revocations
            WHERE anchor = ANY (tokens.handles) AND effect <> 'narrow'
                AND effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
        ) AS r
        WHERE r.selector <@ tokens.handles
            AND (r.issued_before IS NULL OR r.issued_before > (
                SELECT min(family.issued_at) FROM tokens AS family
                WHERE family.token_id = ANY (tokens.lineage || tokens.token_id)
                    AND r.selector <@ family.handles
            ))
            AND NOT (
                '*' = ANY (r.selector)
                AND 'kind:admin' = ANY (tokens.handles)
                AND NOT 'kind:admin' = ANY (r.selector)
            )
    ) AS held
    WHERE handles @> $1::text[] AND ($3::text IS NULL OR token_id < $3)
) AS t
WHERE $2::text IS NULL OR t.state = $2
ORDER BY t.token_id DESC
LIMIT $4
