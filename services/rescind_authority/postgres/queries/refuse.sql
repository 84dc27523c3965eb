-- Reads why heartbeats did not count, and marks the instances that two processes use as shared.
-- $1 bytea[] instances
-- $2 bigint[] heartbeat number of each heartbeat
-- $3 bytea[] nonce of each heartbeat
-- $4 bytea[] trail: the nonces of earlier heartbeats; NULL: an older sidecar, which sends no trail
-- Two processes have one instance if a sidecar was copied with its memory. One process never sends two
-- nonces under one number, and its trail contains the nonce of the last heartbeat that counted. A
-- heartbeat with a lower number is late, and proves nothing.
-- `over`: the instance is released or shared, or has no row any more but is in ended_instances.
-- Locks: FOR NO KEY UPDATE of the lease rows, in the order of the instances, until the COMMIT: no
-- heartbeat counts between the comparison and the mark.
-- Served by: leases_pkey, ended_instances_pkey.
WITH said AS (
    SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bytea[])
    WITH ORDINALITY AS b (instance, counter, nonce, trail, place)
), locked AS (
    SELECT
        instance, counter, CASE WHEN nonce_counter = counter THEN nonce END AS nonce, released_at,
        shared_at
    FROM leases
    WHERE instance = ANY ($1::bytea[])
    ORDER BY instance
    FOR NO KEY UPDATE
), shared AS (
    UPDATE leases AS l SET shared_at = clock_timestamp(), row_version = l.row_version + 1
    FROM (
        SELECT DISTINCT locked.instance
        FROM locked JOIN said USING (instance)
        WHERE locked.released_at IS NULL AND locked.shared_at IS NULL AND (
            (said.counter = locked.counter AND said.nonce <> locked.nonce)
            OR (said.counter > locked.counter AND position(locked.nonce IN said.trail) = 0)
        )
    ) AS copied
    WHERE l.instance = copied.instance
    RETURNING l.instance
)
SELECT
    said.place, locked.counter, locked.nonce IS NOT DISTINCT FROM said.nonce AS repeated,
    locked.released_at IS NOT NULL OR locked.shared_at IS NOT NULL OR shared.instance IS NOT NULL
        AS over,
    shared.instance IS NOT NULL AS shared
FROM said JOIN locked USING (instance) LEFT JOIN shared USING (instance)
UNION ALL
SELECT said.place, said.counter, false, true, false
FROM said JOIN ended_instances USING (instance)
WHERE NOT EXISTS (SELECT FROM locked WHERE locked.instance = said.instance)
ORDER BY place
