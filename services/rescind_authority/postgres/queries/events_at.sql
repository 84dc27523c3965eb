-- Reads the payloads of some seqs: whether an event that somebody has is in this ledger.
-- Served by: events_pkey.
SELECT seq, payload FROM events WHERE seq = ANY ($1::bigint[])
