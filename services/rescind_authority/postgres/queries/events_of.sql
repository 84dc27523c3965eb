-- Reads the events that were committed under one id: one, or of a kill two.
-- Served by: revocations_pkey, events_pkey.
SELECT e.payload
FROM revocations AS r JOIN events AS e USING (seq)
WHERE r.revocation_id = $1
ORDER BY e.seq
