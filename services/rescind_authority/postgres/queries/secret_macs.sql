-- Reads the MACs of rotated secrets, in the order of their hashes.
-- $1 bytea only those after this SHA-256
-- $2 bigint the most rows
-- Served by: retired_secrets_pkey.
SELECT token_hash, mac FROM retired_secrets WHERE token_hash > $1 ORDER BY token_hash LIMIT $2
