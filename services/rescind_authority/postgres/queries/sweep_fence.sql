-- Reads a new transaction number. Every transaction that has written until now has a lower one.
-- Served by: no table.
SELECT pg_current_xact_id()::text::bigint AS fence
