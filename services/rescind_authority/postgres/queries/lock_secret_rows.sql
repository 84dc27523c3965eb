-- Reads and locks rotated secrets, in the order of their hashes, to write their MACs.
-- $1 bytea only those after this SHA-256
-- $2 bigint the most rows
-- Locks: FOR NO KEY UPDATE: no other transaction changes a row between its read and its new MAC.
-- Served by: retired_secrets_pkey.
SELECT s AS whole
FROM retired_secrets AS s
WHERE s.token_hash > $1
ORDER BY s.token_hash
LIMIT $2
FOR NO KEY UPDATE
