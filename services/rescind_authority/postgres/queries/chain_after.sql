-- Reads up to $2 events after the seq $1, with the ledger's end, its MAC and where its epochs began, in one
-- snapshot: one row without an event if there is none.
-- Served by: events_pkey.
SELECT
    h.epoch, h.seq, h.head, h.mac,
    ARRAY(SELECT epoch FROM ledger_epochs ORDER BY epoch) AS epochs,
    ARRAY(SELECT base_seq FROM ledger_epochs ORDER BY epoch) AS bases,
    e.seq AS event, e.payload
FROM ledger_head AS h
LEFT JOIN LATERAL (
    SELECT seq, payload FROM events WHERE seq > $1 ORDER BY seq LIMIT $2
) AS e ON true
ORDER BY e.seq
