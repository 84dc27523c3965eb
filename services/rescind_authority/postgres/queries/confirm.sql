-- Writes a record to the log and nothing else: its COMMIT ends where commits still end.
SELECT pg_logical_emit_message(true, 'rescind', '')
