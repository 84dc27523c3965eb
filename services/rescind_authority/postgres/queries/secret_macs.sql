-- Reads the MACs of up to $2 secrets that were rotated away, after the SHA-256 $1.
-- Served by: retired_secrets_pkey.
SELECT token_hash, mac FROM retired_secrets WHERE token_hash > $1 ORDER BY token_hash LIMIT $2
