-- Writes the progress of the sweep.
-- $1 bigint every revoke up to this seq is done
-- $2 text of the next revoke, tokens from this id on are done; NULL: none
-- Locks: the caller has locked the sweep (`lock_sweep`).
-- Served by: sweep (one row).
UPDATE sweep SET seq = $1, before = $2
