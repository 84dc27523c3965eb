-- Locks the sweep, and reads its progress. Returns no row if another process has locked it.
-- Locks: FOR UPDATE SKIP LOCKED, until the COMMIT. Only one process sweeps at a time.
-- Served by: sweep (one row).
SELECT seq, before FROM sweep FOR UPDATE SKIP LOCKED
