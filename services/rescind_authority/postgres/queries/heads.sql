-- Reads the ledger's head at seqs. An acknowledgement counts only if it has the same head.
-- $1 bigint[] seqs
-- Served by: events_pkey.
SELECT seq, epoch, head FROM events WHERE seq = ANY ($1::bigint[])
