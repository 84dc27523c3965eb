-- Reads the MACs of tokens, in the order of their ids.
-- $1 text only those after this token id
-- $2 bigint the most rows
-- Served by: tokens_pkey.
SELECT token_id, mac FROM tokens WHERE token_id > $1 ORDER BY token_id LIMIT $2
