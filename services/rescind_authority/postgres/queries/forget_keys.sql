-- Deletes old idempotency keys.
-- $1 bigint keys first used more than this number of seconds ago
-- $2 text[] actors whose keys are kept
-- $3 bigint the most keys to delete
-- Locks: FOR UPDATE SKIP LOCKED: a key that another transaction has locked is left for a later run.
-- Served by: idempotency_claimed, idempotency_pkey.
WITH old AS (
    SELECT actor, key FROM idempotency
    WHERE claimed_at < clock_timestamp() - $1::bigint * interval '1 second'
        AND actor <> ALL ($2::text[])
    ORDER BY claimed_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency AS i
USING old
WHERE i.actor = old.actor AND i.key = old.key
RETURNING 1
