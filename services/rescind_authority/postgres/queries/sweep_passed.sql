-- Says whether every transaction up to the number $1 has ended.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1::bigint AS passed
