-- Lists the revokes after the seq $1 up to $2, in their order, at most $3.
-- Served by: revocations_seq_key.
SELECT seq, selector FROM revocations
WHERE effect = 'revoke' AND seq > $1 AND seq <= $2
ORDER BY seq
LIMIT $3
