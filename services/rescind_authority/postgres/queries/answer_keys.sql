-- Stores the answer of each idempotency key, for a repeat of its command.
-- $1 text[] actors
-- $2 text[] keys
-- $3 text[] answers
-- `lock_keys` has locked the rows.
-- Served by: idempotency_pkey.
UPDATE idempotency AS i
SET answer = a.answer
FROM unnest($1::text[], $2::text[], $3::text[]) AS a (actor, key, answer)
WHERE i.actor = a.actor AND i.key = a.key
