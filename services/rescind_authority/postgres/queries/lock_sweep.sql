-- Locks the sweep, unless another process has locked it, and reads its progress.
-- Served by: the only row.
SELECT seq, before FROM sweep FOR UPDATE SKIP LOCKED
