-- Takes the next transaction's number: every transaction that has written by now has a lower one.
SELECT pg_current_xact_id()::text::bigint AS fence
