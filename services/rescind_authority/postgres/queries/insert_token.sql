-- Writes a new token and its audit entry.
-- $1 bytea SHA-256 of the secret
-- $2 text token id
-- $3 text kind
-- $4 text subject
-- $5 text[] scopes
-- $6 text[] audience
-- $7 text tenant; NULL: none
-- $8 text client; NULL: none
-- $9 text session; NULL: none
-- $10 jsonb labels
-- $11 text[] handles
-- $12 timestamptz not_before; NULL: valid from the issue on
-- $13 text created_by
-- $14 bigint issued_seq: `as_of` of the issuance snapshot (`issuance_snapshot.sql`)
-- $15 timestamptz issued_at: the time of the issuance snapshot
-- $16 timestamptz expires_at, and granted_until
-- $17 text[] lineage; empty: a root token
-- $18 text[] chain
-- $19 text[] may_speak_for
-- $20 smallint max_depth; NULL: no limit of its own
-- $21 text user agent of a session; NULL: unknown
-- $22 text IP address of a session; NULL: unknown
-- $23 text[] networks from which the token may be used; empty: any
-- $24 jsonb labels of the verifiers at which the token may be used; empty: any
-- $25 text issuer's name in the audit; NULL: created_by
-- $26 text of a credential: most lenient posture of its sidecars; NULL: any
-- $27 integer of a credential: the most instances at once; NULL: the default
-- $28 bytea possession hash of the secret
-- $29 text[] rights of the holder; NULL: the default
-- $30 bigint longest overlap, in microseconds, of a rotation by the holder; NULL: the default
-- $31 boolean whether the reuse of a rotated secret is denied, and ends no token
-- $32 bytea MAC of the row
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
