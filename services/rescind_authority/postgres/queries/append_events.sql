-- Writes a batch of events with their revocations and audit entries, keeps what each key answers when
-- it comes again, and moves the head: in one trip, for until the COMMIT nobody else appends.
-- $1 epoch, $2 seqs, $3 payloads, $4 heads, $5 the revocations as a JSON array, $6 last seq,
-- $7 last head, $8 actors, $9 keys, $10 answers. What a lift ends is marked in the same statement; a
-- revoke is final, and of a kill only the suspension ends. Nobody else writes these rows: the head's
-- lock orders their writers. Tokens $11 end at the seqs $12, and retired secrets $13 at the seqs $14:
-- what ended keeps its first position. The ledger's time is from here on at least that of its events.
-- Served by: primary keys; the head row, the keys and what ends are locked already.
WITH event AS (
    INSERT INTO events (epoch, seq, payload, head)
    SELECT $1, e.seq, e.payload, e.head
    FROM unnest($2::bigint[], $3::bytea[], $4::bytea[]) AS e (seq, payload, head)
), revocation AS (
    INSERT INTO revocations (
        revocation_id, epoch, seq, effect, selector, anchor, exact, issued_before, until, scopes,
        lifts, reason, actor, committed_at
    )
    SELECT
        r.id, $1, r.seq, r.effect, r.selector, r.anchor, r.exact,
        timestamptz 'epoch' + r.issued_before_us * interval '1 microsecond',
        timestamptz 'epoch' + r.until_us * interval '1 microsecond',
        r.scopes, r.lifts, r.reason, r.actor,
        timestamptz 'epoch' + r.at_us * interval '1 microsecond'
    FROM jsonb_to_recordset($5::jsonb) AS r (
        id text, seq bigint, effect text, selector text[], anchor text, exact boolean,
        issued_before_us bigint, until_us bigint, scopes text[], lifts text, reason text, actor text,
        at_us bigint
    )
    RETURNING
        revocation_id, seq, effect, selector, until, scopes, lifts, reason, actor, committed_at
), lifted AS (
    UPDATE revocations AS held SET lifted_at = revocation.committed_at
    FROM revocation
    WHERE held.revocation_id = revocation.lifts AND held.lifted_at IS NULL
        AND held.effect NOT IN ('revoke', 'lift', 'changed')
), ended AS (
    UPDATE tokens AS t SET ended_seq = e.seq
    FROM unnest($11::text[], $12::bigint[]) AS e (token_id, seq)
    WHERE t.token_id = e.token_id AND t.ended_seq IS NULL
), retired AS (
    UPDATE retired_secrets AS s SET ended_seq = e.seq
    FROM unnest($13::bytea[], $14::bigint[]) AS e (token_hash, seq)
    WHERE s.token_hash = e.token_hash AND s.ended_seq IS NULL
), entry AS (
    INSERT INTO audit (at, actor, action, target, seq, detail)
    SELECT
        committed_at, actor, effect, revocation_id, seq,
        jsonb_strip_nulls(jsonb_build_object(
            'selector', to_jsonb(selector), 'reason', reason, 'until', until, 'lifts', lifts,
            'scopes', CASE WHEN scopes <> '{}' THEN to_jsonb(scopes) END
        ))
    FROM revocation
    ORDER BY seq
), answered AS (
    UPDATE idempotency AS i
    SET answer = a.answer
    FROM unnest($8::text[], $9::text[], $10::text[]) AS a (actor, key, answer)
    WHERE i.actor = a.actor AND i.key = a.key
)
UPDATE ledger_head SET
    seq = $6,
    head = $7,
    latest_at = greatest(latest_at, (SELECT max(committed_at) FROM revocation))
