-- Writes a batch of events with their revocations and audit entries, keeps what each key answers when
-- it comes again, and moves the head: in one trip, for until the COMMIT nobody else appends.
-- $1 epoch, $2 seqs, $3 payloads, $4 heads, $5 the revocations as a JSON array, $6 last seq,
-- $7 last head with its MAC $18, $8 actors, $9 keys, $10 answers. What a lift ends is marked in the same statement; a
-- revoke is final, and of a kill only the suspension ends. Nobody else writes these rows: the head's
-- lock orders their writers. Of the tokens $11, which events changed at the seqs $12,
-- those end for which $13 says when (NULL: not), and $14 are their MACs (NULL: the row had none that was
-- genuine, and gets none); retired secrets $15 end at $16 (NULL: not yet), and have the MACs $17.
-- What ended keeps its first position. The ledger's time is from here on at least that of its events.
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
    UPDATE tokens AS t
    SET
        changed_seq = e.changed_seq,
        ended_seq = coalesce(t.ended_seq, e.ended_seq),
        granted_until = least(t.granted_until, t.expires_at),
        mac = e.mac
    FROM unnest($11::text[], $12::bigint[], $13::bigint[], $14::bytea[])
        AS e (token_id, changed_seq, ended_seq, mac)
    WHERE t.token_id = e.token_id
), retired AS (
    UPDATE retired_secrets AS s SET ended_seq = coalesce(s.ended_seq, e.ended_seq), mac = e.mac
    FROM unnest($15::bytea[], $16::bigint[], $17::bytea[]) AS e (token_hash, ended_seq, mac)
    WHERE s.token_hash = e.token_hash
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
    mac = $18,
    latest_at = greatest(latest_at, (SELECT max(committed_at) FROM revocation))
