-- Reads the payloads of events, to compare them with the events that a sidecar offers.
-- $1 bigint[] seqs
-- Served by: events_pkey.
SELECT seq, payload FROM events WHERE seq = ANY ($1::bigint[])
