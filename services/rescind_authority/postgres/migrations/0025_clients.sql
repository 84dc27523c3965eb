-- OAuth clients. A client's secret is that of a token, its credential, which has the SHA-256 of `registration`:
-- the MAC of the token covers the registration, and the ledger ends the credential.

CREATE TABLE clients (
    client_id text PRIMARY KEY,
    credential text NOT NULL REFERENCES tokens (token_id),
    registration text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL
);

-- The assertions that clients have used (RFC 7523, section 3, `jti`), until they expire.
CREATE TABLE client_assertions (
    client_id text NOT NULL,
    jti_hash bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (client_id, jti_hash)
);
CREATE INDEX client_assertions_expired ON client_assertions (expires_at);
