-- Keeps what each key answers when it comes again.
-- Served by: idempotency_pkey.
UPDATE idempotency AS i
SET answer = a.answer
FROM unnest($1::text[], $2::text[], $3::text[]) AS a (actor, key, answer)
WHERE i.actor = a.actor AND i.key = a.key
