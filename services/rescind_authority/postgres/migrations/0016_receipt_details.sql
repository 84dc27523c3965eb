-- The details of large receipts: every verifier, in chunks whose hashes the receipt signs. A small
-- receipt names its verifiers itself, and has none.

CREATE TABLE receipt_details (
    revocation_id text    NOT NULL REFERENCES receipts,
    number        integer NOT NULL,
    chunk         bytea   NOT NULL,
    PRIMARY KEY (revocation_id, number)
);
