-- Says why heartbeats did not count, and ends the ids of those that a copy sent: a process with the
-- same memory as another. One process never has two heartbeats with one counter, and each names the
-- nonces that it used before, among them that of the last heartbeat which counted. A late heartbeat
-- has a lower counter, and proves nothing. One whose instance is over, and has no row any more, is over.
-- $1 instances, $2 counters, $3 nonces, $4 trails.
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
