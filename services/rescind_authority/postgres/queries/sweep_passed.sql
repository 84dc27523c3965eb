-- Reads whether every transaction up to a number has ended.
-- $1 bigint transaction number (`sweep_fence.sql`)
-- Served by: no table.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint > $1::bigint AS passed
