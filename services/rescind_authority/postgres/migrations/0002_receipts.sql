-- Receipts: that a revocation is enforced, signed, and kept as it was first said.

CREATE TABLE receipts (
    revocation_id text        PRIMARY KEY REFERENCES revocations,
    enforced_at   timestamptz NOT NULL,
    envelope      bytea       NOT NULL
);
