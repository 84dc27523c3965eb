-- Reads the ledger's end, the parent token and its revocations in one snapshot, without a lock.
-- $1 bytea SHA-256 of the parent's secret; NULL: the new token is a root token
-- $2 text[] handles of the new token, besides those that it inherits from the parent
-- Returns one row for each revocation that may apply to the parent or to the child; one row without a
-- revocation if there is none.
-- `as_of` becomes the child's `issued_seq`. A revocation that is not in this snapshot gets a higher
-- seq, and so it hits the child.
-- This statement must not lock the head, not even FOR SHARE. After the wait for a lock, Postgres would
-- read `as_of` again, but not the parent's revocations. A revocation committed during the wait would
-- then be at or below `issued_seq`, and would not hit the child (design 5; a test shows it).
-- A rotated secret also finds the parent. In its overlap it can delegate, and the child ends no later
-- than the overlap. The parent also ends with each of its ancestors (`above`).
-- `since`: when the parent or the first of its ancestors had all the selected handles; NULL: only the
-- child will have them.
-- `whole`, `secret` and `line` are the rows of the token, of the rotated secret (NULL: none) and of the
-- ancestors. The caller checks their MACs.
-- Served by: tokens_token_hash_key, retired_secrets_pkey, tokens_pkey, revocations_anchor,
-- revocations_standing, revocations_seq_key.
SELECT
    h.epoch AS ledger_epoch, h.seq AS as_of, ledger_time(h.latest_at, clock_timestamp()) AS at,
    s.token_hash, t.token_id, t.kind, t.subject, t.scopes, t.audience, t.tenant, t.client,
    t.session, t.labels, t.lineage, t.chain, t.handles, t.issued_at, t.issued_seq, t.not_before,
    greatest(t.issued_at, least(t.expires_at, s.good_until, above.expires_at)) AS expires_at,
    t.last_used_at, t.created_by, t.may_speak_for, t.max_depth, t.self_service, t.max_overlap_us, t.reuse_denies,
    t.user_agent, host(t.address) AS address, t.addresses, t.verifier,
    s.retired_at, s.good_until, s.revokes, s.possession_hash,
    coalesce(s.ended_seq, t.ended_seq, above.ended_seq) AS ended_seq,
    (
        SELECT revocation_id FROM revocations
        WHERE seq = coalesce(s.ended_seq, t.ended_seq, above.ended_seq)
    ) AS ended_by,
    t AS whole, s.secret, coalesce(above.line, '{}') AS line,
    r.revocation_id, r.epoch AS event_epoch, r.seq, r.effect, r.selector, r.issued_before, r.until,
    r.scopes AS removed, r.lifts, r.reason, r.actor, r.committed_at,
    (
        SELECT min(issued_at) FROM tokens AS ancestor
        WHERE token_id = ANY (t.lineage || t.token_id) AND r.selector <@ ancestor.handles
    ) AS since
FROM ledger_head AS h
LEFT JOIN (
    SELECT token_hash, token_id, NULL AS retired_at, NULL AS good_until, false AS revokes,
        NULL::bigint AS ended_seq, NULL::bytea AS possession_hash,
        NULL::retired_secrets AS secret
    FROM tokens
    WHERE token_hash = $1
    UNION ALL
    SELECT token_hash, token_id, retired_at, good_until, revokes, ended_seq, possession_hash, old
    FROM retired_secrets AS old
    WHERE token_hash = $1
) AS s ON true
LEFT JOIN tokens AS t ON t.token_id = s.token_id
LEFT JOIN LATERAL (
    SELECT min(expires_at) AS expires_at, min(ended_seq) AS ended_seq, array_agg(ancestor) AS line
    FROM tokens AS ancestor
    WHERE token_id = ANY (t.lineage)
) AS above ON true
CROSS JOIN LATERAL (SELECT $2::text[] || COALESCE(t.handles, '{}') AS handles) AS family
LEFT JOIN LATERAL (
    SELECT * FROM revocations
    WHERE anchor = ANY (family.handles) AND seq > t.issued_seq AND effect = 'revoke'
    UNION ALL
    SELECT * FROM revocations
    WHERE anchor = ANY (family.handles)
        AND effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
) AS r ON r.selector <@ family.handles
ORDER BY r.seq
