-- The first schema: tokens, the ledger, revocations, leases, audit, idempotency keys.
-- Works on Postgres 15 and later. Sequences number nothing in the ledger: they are neither dense
-- nor in commit order.

CREATE TABLE tokens (
    token_id     text        PRIMARY KEY,
    token_hash   bytea       NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    kind         text        NOT NULL
        CHECK (kind IN ('agent', 'service', 'session', 'personal', 'admin')),
    subject      text        NOT NULL,
    scopes       text[]      NOT NULL CHECK (cardinality(scopes) <= 64),
    audience     text[]      NOT NULL,
    tenant       text,
    client       text,
    session      text,
    labels       jsonb       NOT NULL CHECK (jsonb_typeof(labels) = 'object'),
    lineage      text[]      NOT NULL DEFAULT '{}' CHECK (cardinality(lineage) <= 16),
    chain        text[]      NOT NULL DEFAULT '{}'
        CHECK (cardinality(chain) = cardinality(lineage)),
    handles      text[]      NOT NULL CHECK (cardinality(handles) > 0),
    issued_at    timestamptz NOT NULL,
    issued_seq   bigint      NOT NULL CHECK (issued_seq >= 0),
    not_before   timestamptz,
    expires_at   timestamptz NOT NULL CHECK (expires_at > issued_at),
    last_used_at timestamptz,
    created_by   text        NOT NULL,
    CHECK (not_before IS NULL OR not_before < expires_at)
);
-- Lists and counts by any set of handles.
CREATE INDEX tokens_handles ON tokens USING gin (handles);

-- Where the ledger ends. There is one row, and its lock is the ledger's only lock.
CREATE TABLE ledger_head (
    one           boolean PRIMARY KEY DEFAULT true CHECK (one),
    epoch         bigint  NOT NULL CHECK (epoch >= 1),
    seq           bigint  NOT NULL CHECK (seq >= 0),
    head          bytea   NOT NULL CHECK (length(head) = 32),
    grant_term_ms bigint  NOT NULL CHECK (grant_term_ms > 0),
    wait_term_ms  bigint  NOT NULL,
    CHECK (wait_term_ms >= grant_term_ms)
);

-- Where each incarnation of the ledger began.
CREATE TABLE ledger_epochs (
    epoch     bigint      PRIMARY KEY CHECK (epoch >= 1),
    base_seq  bigint      NOT NULL CHECK (base_seq >= 0),
    base_head bytea       NOT NULL CHECK (length(base_head) = 32),
    began_at  timestamptz NOT NULL
);

CREATE TABLE events (
    seq     bigint PRIMARY KEY CHECK (seq >= 1),
    epoch   bigint NOT NULL REFERENCES ledger_epochs,
    payload bytea  NOT NULL,
    head    bytea  NOT NULL CHECK (length(head) = 32)
);

CREATE TABLE revocations (
    revocation_id text        PRIMARY KEY,
    epoch         bigint      NOT NULL,
    seq           bigint      NOT NULL UNIQUE REFERENCES events,
    effect        text        NOT NULL,
    selector      text[]      NOT NULL CHECK (cardinality(selector) BETWEEN 1 AND 8),
    anchor        text        NOT NULL CHECK (anchor = ANY (selector)),
    exact         boolean     NOT NULL,
    issued_before timestamptz,
    until         timestamptz,
    scopes        text[]      NOT NULL DEFAULT '{}',
    reason        text        NOT NULL,
    actor         text        NOT NULL,
    committed_at  timestamptz NOT NULL,
    lifted_at     timestamptz,
    CHECK (lifted_at IS NULL OR effect <> 'revoke')
);
-- The holds of a token have one of its handles as their anchor. A revoke hits what was issued
-- before its seq, so a new token steps over old ones of its subject; other effects hit any token.
CREATE INDEX revocations_anchor ON revocations (anchor, seq) WHERE effect = 'revoke';
CREATE INDEX revocations_standing ON revocations (anchor)
    WHERE effect <> 'revoke' AND lifted_at IS NULL;

CREATE TABLE leases (
    instance     bytea       PRIMARY KEY CHECK (length(instance) = 16),
    service      text        NOT NULL,
    host         text        NOT NULL,
    version_text text        NOT NULL,
    posture      text        NOT NULL,
    counter      bigint      NOT NULL CHECK (counter >= 0),
    epoch        bigint,
    applied_seq  bigint,
    applied_head bytea,
    acked_seq    bigint      NOT NULL DEFAULT 0,
    row_version  bigint      NOT NULL DEFAULT 1,
    first_seen   timestamptz NOT NULL,
    last_seen    timestamptz NOT NULL,
    released_at  timestamptz
);

CREATE TABLE audit (
    audit_id bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor    text        NOT NULL,
    action   text        NOT NULL,
    target   text        NOT NULL,
    seq      bigint,
    detail   jsonb       NOT NULL
);

CREATE TABLE idempotency (
    actor     text        NOT NULL,
    key       text        NOT NULL,
    body_hash bytea       NOT NULL CHECK (length(body_hash) = 32),
    answer    text,
    claimed_at timestamptz NOT NULL,
    PRIMARY KEY (actor, key)
);
