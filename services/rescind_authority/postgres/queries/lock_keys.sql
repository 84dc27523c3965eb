-- Locks idempotency keys in the order given; returns the first request under each key.
-- Waits for a transaction that holds one of them.
-- A repeat writes too: its answer must not be given before the first one is durable, and only a
-- commit of our own proves that where a standby confirms commits.
-- Served by: idempotency_pkey.
INSERT INTO idempotency AS i (actor, key, body_hash, claimed_at)
SELECT c.actor, c.key, c.body_hash, clock_timestamp()
FROM unnest($1::text[], $2::text[], $3::bytea[]) AS c (actor, key, body_hash)
ON CONFLICT (actor, key) DO UPDATE SET claimed_at = i.claimed_at
RETURNING i.actor, i.key, i.body_hash, i.answer
