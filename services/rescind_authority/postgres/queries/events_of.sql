-- Reads the events of a revocation (a kill has two), each with the ledger's head after it.
-- $1 text revocation id
-- Served by: revocations_pkey, events_pkey.
SELECT e.payload, e.head
FROM revocations AS r JOIN events AS e USING (seq)
WHERE r.revocation_id = $1
ORDER BY e.seq
