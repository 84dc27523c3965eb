-- Lists revokes in the order of their seqs.
-- $1 bigint only those after this seq
-- $2 bigint only those up to this seq
-- $3 bigint the most rows
-- Served by: revocations_seq_key.
SELECT seq, selector FROM revocations
WHERE effect = 'revoke' AND seq > $1 AND seq <= $2
ORDER BY seq
LIMIT $3
