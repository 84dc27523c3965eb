-- Reads the timeline that this server writes, from the name of its WAL file. NULL: a standby.
-- Served by: no table.
SELECT CASE WHEN NOT pg_is_in_recovery() THEN
    ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8
END
