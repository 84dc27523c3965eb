-- Locks the sessions of a subject, so that only one transaction at a time issues one.
-- $1 text subject
-- Locks: an advisory lock, until the transaction ends. A count of the sessions stays true until then.
-- Served by: no table.
SELECT pg_advisory_xact_lock(hashtextextended('sessions of ' || $1::text, 0))
