-- Deletes lease rows that stood still while they were watched: only at the very version watched. Their
-- instances are over from then on: else a recorded heartbeat would open a row for them again.
-- Served by: leases_pkey, ended_instances_pkey.
WITH ended AS (
    DELETE FROM leases AS l
    USING unnest($1::bytea[], $2::bigint[]) AS w (instance, row_version)
    WHERE l.instance = w.instance AND l.row_version = w.row_version
    RETURNING l.instance
)
INSERT INTO ended_instances (instance) SELECT instance FROM ended
ON CONFLICT DO NOTHING
