-- Ends instances for ever: sets `released_at`, and adds them to ended_instances.
-- $1 bytea[] instances, sorted: all authorities lock rows in the same order, and do not deadlock
-- $2 bigint[] heartbeat number of each release
-- $3 bytea[] trail: the nonces of earlier heartbeats; NULL: an older sidecar, which sends no trail
-- An instance without a row gets one: a heartbeat that arrives after its release then finds it ended.
-- The release of a copied process sets `shared_at` instead, because the other process may still have
-- the lease (`refuse.sql`).
-- Served by: leases_pkey, ended_instances_pkey.
WITH ended AS (
    INSERT INTO leases AS l (
        instance, service, host, version_text, posture, counter, row_version, first_seen, last_seen,
        released_at, trail
    )
    SELECT
        r.instance, '', '', '', '', r.counter, r.counter, (SELECT ledger_now()),
        (SELECT ledger_now()), (SELECT ledger_now()), r.trail
    FROM unnest($1::bytea[], $2::bigint[], $3::bytea[])
    WITH ORDINALITY AS r (instance, counter, trail, place)
    WHERE NOT EXISTS (SELECT FROM ended_instances AS x WHERE x.instance = r.instance)
    ORDER BY r.place
    ON CONFLICT (instance) DO UPDATE SET
        counter = greatest(l.counter, excluded.counter),
        row_version = greatest(l.row_version + 1, excluded.row_version),
        last_seen = excluded.last_seen,
        released_at = CASE
            WHEN l.nonce_counter IS DISTINCT FROM l.counter
                OR excluded.trail IS NULL
                OR position(l.nonce IN excluded.trail) > 0
            THEN excluded.released_at
        END,
        shared_at = CASE
            WHEN l.nonce_counter = l.counter AND position(l.nonce IN excluded.trail) = 0
            THEN excluded.released_at
        END
    WHERE l.released_at IS NULL AND l.shared_at IS NULL
    RETURNING instance
)
INSERT INTO ended_instances (instance) SELECT instance FROM ended
ON CONFLICT DO NOTHING
