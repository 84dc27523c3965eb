-- Reads tokens by the SHA-256 of a secret, with every revocation that may apply to them, and the
-- ledger's end. All are of one snapshot, so the result is true as of the seq `as_of`.
-- $1 bytea[] SHA-256 of the secrets
-- Returns one row for each pair of token and revocation; one row without a revocation for a token that
-- has none; one row without a token if none is found.
-- A revoke at or below `issued_seq` cannot hit the token. The index skips such rows, so many old
-- revokes of one subject cost nothing. core.revocation.hits decides which of the others hit.
-- `since`: when the token or the first of its ancestors had all the selected handles. A cutoff compares
-- this time, so a delegated token is not spared for being younger than its parent.
-- A rotated secret finds its token too. It has an end of its own (`good_until`) and its own
-- `possession_hash`, by which the holder is recognised.
-- `ended_seq` is the position at which the secret or the token ended, `ended_by` the event there.
-- A token ends with each of its ancestors (`above`).
-- `whole`, `secret` and `line` are the rows of the token, of the rotated secret (NULL: none) and of the
-- ancestors. The caller checks their MACs.
-- Served by: tokens_token_hash_key, retired_secrets_pkey, tokens_pkey, revocations_anchor,
-- revocations_standing, revocations_seq_key, idle_timeouts_pkey.
SELECT
    h.epoch AS ledger_epoch, h.seq AS as_of, ledger_time(h.latest_at, clock_timestamp()) AS at,
    s.token_hash, t.token_id, t.kind, t.subject, t.scopes, t.audience, t.tenant, t.client,
    t.session, t.labels, t.lineage, t.chain, t.handles, t.issued_at, t.issued_seq, t.not_before,
    greatest(t.issued_at, least(t.expires_at, s.good_until, above.expires_at)) AS expires_at,
    t.last_used_at, t.created_by,
    t.may_speak_for, t.max_depth, t.self_service, t.max_overlap_us, t.reuse_denies,
    t.user_agent, host(t.address) AS address, t.addresses, t.verifier, s.retired_at, s.good_until, s.revokes,
    s.possession_hash,
    coalesce(s.ended_seq, t.ended_seq, above.ended_seq) AS ended_seq,
    (
        SELECT revocation_id FROM revocations
        WHERE seq = coalesce(s.ended_seq, t.ended_seq, above.ended_seq)
    ) AS ended_by,
    (SELECT idle_us FROM idle_timeouts AS i WHERE i.token_id = t.token_id) AS idle_us,
    t AS whole, s.secret, coalesce(above.line, '{}') AS line,
    r.revocation_id, r.epoch AS event_epoch, r.seq, r.effect, r.selector, r.issued_before, r.until,
    r.scopes AS removed, r.lifts, r.reason, r.actor, r.committed_at,
    CASE WHEN r.issued_before IS NULL THEN t.issued_at ELSE (
        SELECT min(issued_at) FROM tokens AS family
        WHERE token_id = ANY (t.lineage || t.token_id) AND r.selector <@ family.handles
    ) END AS since
FROM ledger_head AS h
LEFT JOIN (
    SELECT token_hash, token_id, NULL AS retired_at, NULL AS good_until, false AS revokes,
        NULL::bigint AS ended_seq, NULL::bytea AS possession_hash,
        NULL::retired_secrets AS secret
    FROM tokens
    WHERE token_hash = ANY ($1::bytea[])
    UNION ALL
    SELECT token_hash, token_id, retired_at, good_until, revokes, ended_seq, possession_hash, old
    FROM retired_secrets AS old
    WHERE token_hash = ANY ($1::bytea[])
) AS s ON true
LEFT JOIN tokens AS t ON t.token_id = s.token_id
LEFT JOIN LATERAL (
    SELECT min(expires_at) AS expires_at, min(ended_seq) AS ended_seq, array_agg(ancestor) AS line
    FROM tokens AS ancestor
    WHERE token_id = ANY (t.lineage)
) AS above ON true
LEFT JOIN LATERAL (
    SELECT * FROM revocations
    WHERE anchor = ANY (t.handles) AND seq > t.issued_seq AND effect = 'revoke'
    UNION ALL
    SELECT * FROM revocations
    WHERE anchor = ANY (t.handles)
        AND effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
) AS r ON r.selector <@ t.handles
ORDER BY s.token_hash, r.seq
