-- Deletes idempotency keys first used more than $1 seconds ago, at most $3, but none of the actors $2.
-- A row that another transaction has locked is skipped.
-- Served by: idempotency_claimed.
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
