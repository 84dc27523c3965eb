-- Stores a new token with its audit entry.
-- issued_seq is the head as this statement's snapshot shows it, without a lock, on purpose: a
-- revocation that commits meanwhile gets a higher seq and hits the token. Under the head's lock
-- (or FOR SHARE) the value would be read after that commit, and the token would live (design 5).
-- Served by: the only row of ledger_head.
WITH token AS (
    INSERT INTO tokens (
        token_hash, token_id, kind, subject, scopes, audience, tenant, client, session, labels,
        handles, not_before, created_by, issued_seq, issued_at, expires_at
    )
    SELECT
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, head.seq, clock.at,
        clock.at + $14::bigint * interval '1 microsecond'
    FROM ledger_head AS head
    CROSS JOIN (SELECT clock_timestamp() AS at OFFSET 0) AS clock
    RETURNING
        token_id, kind, subject, scopes, audience, created_by, issued_seq, issued_at, expires_at
), entry AS (
    INSERT INTO audit (at, actor, action, target, seq, detail)
    SELECT
        issued_at, created_by, 'issue', token_id, issued_seq,
        jsonb_build_object(
            'kind', kind, 'subject', subject, 'scopes', to_jsonb(scopes),
            'audience', to_jsonb(audience), 'expires_at', expires_at
        )
    FROM token
)
SELECT issued_seq, issued_at, expires_at FROM token
