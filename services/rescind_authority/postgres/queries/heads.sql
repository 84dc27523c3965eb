-- Reads the ledger's head at some seqs: an acknowledgement counts only with the right one.
-- Served by: events_pkey.
SELECT seq, epoch, head FROM events WHERE seq = ANY ($1::bigint[])
