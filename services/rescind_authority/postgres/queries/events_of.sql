-- Reads the events that were committed under one id, and the head after each: one, or of a kill two.
-- Served by: revocations_pkey, events_pkey.
SELECT e.payload, e.head
FROM revocations AS r JOIN events AS e USING (seq)
WHERE r.revocation_id = $1
ORDER BY e.seq
