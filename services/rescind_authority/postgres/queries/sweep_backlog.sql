-- Reads the progress of the sweep, the ledger's end, and how many revokes are between them.
-- $1 bigint the count stops here
-- Served by: sweep and ledger_head (one row each), revocations_seq_key.
SELECT s.seq AS swept, h.seq AS head, (
    SELECT count(*) FROM (
        SELECT FROM revocations WHERE effect = 'revoke' AND seq > s.seq LIMIT $1
    ) AS waiting
) AS waiting
FROM sweep AS s, ledger_head AS h
