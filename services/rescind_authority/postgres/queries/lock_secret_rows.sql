-- Locks up to $2 secrets that were rotated away, after the SHA-256 $1, in their order, to write MACs.
-- Served by: retired_secrets_pkey.
SELECT s AS whole
FROM retired_secrets AS s
WHERE s.token_hash > $1
ORDER BY s.token_hash
LIMIT $2
FOR NO KEY UPDATE
