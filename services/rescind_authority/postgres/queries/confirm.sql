-- Writes one record to the WAL and changes no table, to test that a COMMIT on this server ends.
-- Served by: no table.
SELECT pg_logical_emit_message(true, 'rescind', '')
