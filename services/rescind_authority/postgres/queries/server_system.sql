-- Reads which installation of Postgres this is: the same for a primary and all its standbys.
SELECT system_identifier FROM pg_control_system()
