-- Writes the MACs $2 of the secrets with the SHA-256 $1, which were rotated away.
-- Served by: retired_secrets_pkey.
UPDATE retired_secrets AS s SET mac = e.mac
FROM unnest($1::bytea[], $2::bytea[]) AS e (token_hash, mac)
WHERE s.token_hash = e.token_hash
