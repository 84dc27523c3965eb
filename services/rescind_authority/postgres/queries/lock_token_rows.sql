-- Locks up to $2 tokens after the id $1, in the order of their ids, to write MACs; each with the seq of the
-- last event that changed it.
-- Served by: tokens_pkey, revocations_changed.
SELECT t AS whole, (
    SELECT max(seq) FROM revocations
    WHERE effect = 'changed' AND anchor IN ('token:' || t.token_id, 'tree:' || t.token_id)
) AS changed_seq
FROM tokens AS t
WHERE t.token_id > $1
ORDER BY t.token_id
LIMIT $2
FOR NO KEY UPDATE OF t
