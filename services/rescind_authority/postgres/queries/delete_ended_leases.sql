-- Deletes lease rows that did not change while they were watched, and ends their instances.
-- $1 bytea[] instances
-- $2 bigint[] row_version that was watched; a row with another version stays
-- Without the row in ended_instances, a recorded heartbeat would insert the lease row again.
-- Served by: leases_pkey, ended_instances_pkey.
WITH ended AS (
    DELETE FROM leases AS l
    USING unnest($1::bytea[], $2::bigint[]) AS w (instance, row_version)
    WHERE l.instance = w.instance AND l.row_version = w.row_version
    RETURNING l.instance
)
INSERT INTO ended_instances (instance) SELECT instance FROM ended
ON CONFLICT DO NOTHING
