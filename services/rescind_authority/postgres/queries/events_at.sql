-- Reads the payloads of some seqs, to compare them with the events that a sidecar offers.
-- Served by: events_pkey.
SELECT seq, payload FROM events WHERE seq = ANY ($1::bigint[])
