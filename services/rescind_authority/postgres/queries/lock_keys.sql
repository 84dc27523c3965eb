-- Writes and locks idempotency keys, and returns the first request under each key.
-- $1 text[] actors, sorted with their keys: all authorities lock rows in the same order
-- $2 text[] keys
-- $3 bytea[] SHA-256 of each request
-- A repeat updates the row without a change. So its COMMIT also waits for the standby, and the repeat
-- is not answered before the first request is durable.
-- Locks: the rows, until the COMMIT. A concurrent request with the same key waits.
-- Served by: idempotency_pkey.
INSERT INTO idempotency AS i (actor, key, body_hash, claimed_at)
SELECT c.actor, c.key, c.body_hash, clock_timestamp()
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS c (actor, key, body_hash)
ON CONFLICT (actor, key) DO UPDATE SET claimed_at = i.claimed_at
RETURNING i.actor, i.key, i.body_hash, i.answer
