-- Reads and locks tokens, in the order of their ids, to write their MACs.
-- $1 text only those after this token id
-- $2 bigint the most rows
-- `changed_seq`: the seq of the last event that changed the token; NULL: there is none.
-- Locks: FOR NO KEY UPDATE: no other transaction changes a row between its read and its new MAC.
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
