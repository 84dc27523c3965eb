-- Secrets that a token had before it was rotated: good until the overlap ends, and afterwards the
-- sign that somebody else has them.

CREATE TABLE retired_secrets (
    token_hash bytea       PRIMARY KEY CHECK (length(token_hash) = 32),
    token_id   text        NOT NULL REFERENCES tokens ON DELETE CASCADE,
    retired_at timestamptz NOT NULL,
    good_until timestamptz NOT NULL,
    revokes    boolean     NOT NULL -- whether its use after that ends the token's tree
);
CREATE INDEX retired_secrets_token ON retired_secrets (token_id);
