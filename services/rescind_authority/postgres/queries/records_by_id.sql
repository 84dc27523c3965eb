-- Reads tokens by their ids, with every revocation that may apply to them, and the ledger's end. All
-- are of one snapshot, so the result is true as of the seq `as_of`.
-- $1 text[] token ids
-- Rows, `since`, `ended_seq`, `ended_by`, `above`, `whole` and `line` are as in `records_by_hash.sql`.
-- Rotated secrets are not read.
-- Served by: tokens_pkey, revocations_anchor, revocations_standing, revocations_seq_key,
-- idle_timeouts_pkey.
SELECT
    h.epoch AS ledger_epoch, h.seq AS as_of, ledger_time(h.latest_at, clock_timestamp()) AS at,
    t.token_hash, t.token_id, t.kind, t.subject, t.scopes, t.audience, t.tenant, t.client,
    t.session, t.labels, t.lineage, t.chain, t.handles, t.issued_at, t.issued_seq, t.not_before,
    greatest(t.issued_at, least(t.expires_at, above.expires_at)) AS expires_at,
    t.last_used_at, t.created_by, t.may_speak_for, t.max_depth, t.self_service, t.max_overlap_us, t.reuse_denies,
    t.user_agent, host(t.address) AS address, t.addresses, t.verifier,
    NULL AS retired_at, NULL AS good_until, false AS revokes,
    coalesce(t.ended_seq, above.ended_seq) AS ended_seq,
    (
        SELECT revocation_id FROM revocations WHERE seq = coalesce(t.ended_seq, above.ended_seq)
    ) AS ended_by,
    (SELECT idle_us FROM idle_timeouts AS i WHERE i.token_id = t.token_id) AS idle_us,
    t AS whole, NULL::retired_secrets AS secret, coalesce(above.line, '{}') AS line,
    r.revocation_id, r.epoch AS event_epoch, r.seq, r.effect, r.selector, r.issued_before, r.until,
    r.scopes AS removed, r.lifts, r.reason, r.actor, r.committed_at,
    CASE WHEN r.issued_before IS NULL THEN t.issued_at ELSE (
        SELECT min(issued_at) FROM tokens AS family
        WHERE token_id = ANY (t.lineage || t.token_id) AND r.selector <@ family.handles
    ) END AS since
FROM ledger_head AS h
LEFT JOIN tokens AS t ON t.token_id = ANY ($1::text[])
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
ORDER BY t.token_id, r.seq
