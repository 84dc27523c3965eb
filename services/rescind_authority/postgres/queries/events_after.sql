-- Reads events, and in the same snapshot the ledger's end.
-- $1 bigint the events after this seq
-- $2 bigint the most events
-- Returns one row without an event if there is none.
-- Served by: events_pkey.
SELECT h.epoch, h.seq AS last, e.payload
FROM ledger_head AS h
LEFT JOIN LATERAL (
    SELECT seq, payload FROM events WHERE seq > $1 ORDER BY seq LIMIT $2
) AS e ON true
ORDER BY e.seq
