-- Deletes lease rows that stood still while somebody watched: only at the very version watched.
-- Served by: leases_pkey.
DELETE FROM leases AS l
USING unnest($1::bytea[], $2::bigint[]) AS w (instance, row_version)
WHERE l.instance = w.instance AND l.row_version = w.row_version
