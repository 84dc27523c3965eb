-- Writes a batch of events with their revocations and audit entries, and moves the ledger's head.
-- Also writes what the events end, the tokens that they changed, and the answers of the commands.
-- $1 bigint epoch of the events
-- $2 bigint[] seq of each event
-- $3 bytea[] payload of each event
-- $4 bytea[] head of the ledger after each event
-- $5 jsonb array of the revocations, one for each event
-- $6 bigint seq of the last event
-- $7 bytea head of the ledger after the last event; $18 is its MAC
-- $8 text[] actors of the idempotency keys
-- $9 text[] idempotency keys
-- $10 text[] answer of each idempotency key
-- $11 text[] ids of the tokens that the events changed
-- $12 bigint[] changed_seq of each token
-- $13 bigint[] ended_seq of each token; NULL: the token does not end
-- $14 bytea[] MAC of each token; NULL: the row had no genuine MAC, and gets none
-- $15 bytea[] SHA-256 of the rotated secrets that the events changed
-- $16 bigint[] ended_seq of each secret; NULL: the secret does not end yet
-- $17 bytea[] MAC of each secret; NULL: as for $14
-- $18 bytea MAC of the ledger's head
-- A lift sets `lifted_at` of the revocation under the id `lifts`. A revoke cannot be lifted: of a kill
-- only the suspension is marked. An `ended_seq` that is already set stays.
-- `latest_at` grows to the time of the newest event: ledger time does not run behind it (`ledger_time`).
-- Locks: the caller has locked the head (`lock_head`), the keys (`lock_keys`) and the changed rows. No
-- other transaction can append until the COMMIT; one statement keeps that time to one round trip.
-- Served by: the primary keys of the tables; ledger_head (one row).
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
