-- Reads the system identifier of Postgres, which a primary and all its standbys share.
-- Served by: no table.
SELECT system_identifier FROM pg_control_system()
