-- Reads the MACs of up to $2 tokens after the id $1, in the order of their ids.
-- Served by: tokens_pkey.
SELECT token_id, mac FROM tokens WHERE token_id > $1 ORDER BY token_id LIMIT $2
