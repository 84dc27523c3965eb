-- Reads how far the sweep has come, where the ledger ends, and how many revokes lie between them, up
-- to the bound $1.
-- Served by: the only rows, revocations_seq_key.
SELECT s.seq AS swept, h.seq AS head, (
    SELECT count(*) FROM (
        SELECT FROM revocations WHERE effect = 'revoke' AND seq > s.seq LIMIT $1
    ) AS waiting
) AS waiting
FROM sweep AS s, ledger_head AS h
