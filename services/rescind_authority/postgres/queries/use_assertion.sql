-- Writes the id of an assertion, unless it is there; returns a row if it was written.
-- Deletes some that have expired.
-- $1 text client id
-- $2 bytea SHA-256 of the assertion's `jti`
-- $3 timestamptz the end of the assertion
-- Locks: FOR UPDATE SKIP LOCKED: an expired row that another transaction deletes is left to it.
-- Served by: client_assertions_pkey, client_assertions_expired.
WITH expired AS (
    SELECT client_id, jti_hash
    FROM client_assertions
    WHERE expires_at < clock_timestamp() - interval '1 minute'
    ORDER BY expires_at
    LIMIT 100
    FOR UPDATE SKIP LOCKED
),
deleted AS (
    DELETE FROM client_assertions AS a
    USING expired AS e
    WHERE a.client_id = e.client_id AND a.jti_hash = e.jti_hash
)
INSERT INTO client_assertions (client_id, jti_hash, expires_at)
VALUES ($1, $2, $3)
ON CONFLICT (client_id, jti_hash) DO NOTHING
RETURNING client_id
