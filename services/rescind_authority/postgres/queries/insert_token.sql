-- Stores a new token with its audit entry, as of the issuance snapshot that was read for it. $25 is
-- the audit's name for its issuer; $26 and $27 are the limits of a credential on its sidecars; $28 to
-- $30 are the rights of the token's holder (NULL: the default); $32 is the row's MAC.
-- Served by: tokens_pkey, tokens_token_hash_key.
WITH token AS (
    INSERT INTO tokens (
        token_hash, token_id, kind, subject, scopes, audience, tenant, client, session, labels,
        handles, not_before, created_by, issued_seq, issued_at, expires_at, lineage, chain,
        may_speak_for, max_depth, user_agent, address, addresses, verifier, worst_posture,
        most_instances, possession_hash, self_service, max_overlap_us, reuse_denies, granted_until, mac
    )
    VALUES (
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
        $21, $22::text::inet, $23, $24, $26, $27, $28, $29, $30, $31, $16, $32
    )
    RETURNING
        token_id, kind, subject, scopes, audience, created_by, issued_seq, issued_at, expires_at,
        lineage
)
INSERT INTO audit (at, actor, action, target, seq, detail)
SELECT
    issued_at, coalesce($25::text, created_by), CASE WHEN lineage = '{}' THEN 'issue' ELSE 'delegate' END,
    token_id, issued_seq,
    jsonb_build_object(
        'kind', kind, 'subject', subject, 'scopes', to_jsonb(scopes),
        'audience', to_jsonb(audience), 'expires_at', expires_at, 'lineage', to_jsonb(lineage)
    )
FROM token
