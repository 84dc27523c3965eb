-- Writes the MACs of rotated secrets.
-- $1 bytea[] SHA-256 of the secrets
-- $2 bytea[] MAC of each secret
-- Locks: the caller has locked the rows (`lock_secret_rows`).
-- Served by: retired_secrets_pkey.
UPDATE retired_secrets AS s SET mac = e.mac
FROM unnest($1::bytea[], $2::bytea[]) AS e (token_hash, mac)
WHERE s.token_hash = e.token_hash
