-- Writes heartbeats to the lease rows (step G1 of a grant), and returns the heartbeats that counted.
-- $1 bytea[] instances, sorted: all authorities lock rows in the same order, and do not deadlock
-- $2 text[] service of each instance
-- $3 text[] host
-- $4 text[] version of the sidecar
-- $5 text[] posture
-- $6 bigint[] heartbeat number (column `counter`)
-- $7 bigint[] epoch of the applied position; NULL: the instance has applied nothing yet
-- $8 bigint[] seq of the applied position; NULL: as for $7
-- $9 bytea[] head of the applied position; NULL: as for $7
-- $10 bytea[] nonce of the heartbeat
-- $11 bytea[] trail: the nonces of earlier heartbeats; NULL: an older sidecar, which sends no trail
-- $12 bigint[] serial of the trust statement in use; NULL: the sidecar reported none
-- A heartbeat counts only if its number is above the stored one, the instance is neither released nor
-- shared, and its trail contains the nonce of the last heartbeat that counted. The trail of a copied
-- process lacks that nonce (`refuse.sql`).
-- An applied position is acknowledged only if its head is the ledger's head at that seq.
-- An instance in ended_instances gets no row, even after its own row was deleted
-- (`delete_ended_leases.sql`).
-- `row_version` starts at the heartbeat number and only grows. So a row that was deleted and inserted
-- again has a new version, and a waiter that watched the old row sees the change.
-- `started` identifies the server.
-- Served by: leases_pkey, ended_instances_pkey, events_pkey, ledger_epochs_pkey.
INSERT INTO leases AS l (
    instance, service, host, version_text, posture, counter, epoch, applied_seq, applied_head,
    nonce, nonce_counter, trail, trust_serial, acked_seq, row_version, first_seen, last_seen
)
SELECT
    b.instance, b.service, b.host, b.version_text, b.posture, b.counter, b.epoch, b.applied_seq,
    b.applied_head, b.nonce, b.counter, b.trail, b.trust_serial,
    CASE
        WHEN EXISTS (
            SELECT FROM events AS e
            WHERE e.seq = b.applied_seq AND e.epoch = b.epoch AND e.head = b.applied_head
        ) OR EXISTS (
            SELECT FROM ledger_epochs AS p
            WHERE p.epoch = b.epoch AND p.base_seq = b.applied_seq AND p.base_head = b.applied_head
        ) THEN b.applied_seq
        ELSE 0
    END,
    b.counter, (SELECT ledger_now()), (SELECT ledger_now())
FROM unnest(
    $1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[],
    $8::bigint[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bigint[]
) WITH ORDINALITY AS b (
    instance, service, host, version_text, posture, counter, epoch, applied_seq, applied_head, nonce,
    trail, trust_serial, place
)
WHERE NOT EXISTS (SELECT FROM ended_instances AS x WHERE x.instance = b.instance)
ORDER BY b.place
ON CONFLICT (instance) DO UPDATE SET
    service = excluded.service,
    host = excluded.host,
    version_text = excluded.version_text,
    posture = excluded.posture,
    counter = excluded.counter,
    epoch = excluded.epoch,
    applied_seq = excluded.applied_seq,
    applied_head = excluded.applied_head,
    nonce = excluded.nonce,
    nonce_counter = excluded.counter,
    trail = excluded.trail,
    trust_serial = excluded.trust_serial,
    acked_seq = greatest(l.acked_seq, excluded.acked_seq),
    row_version = greatest(l.row_version + 1, excluded.row_version),
    last_seen = excluded.last_seen
WHERE l.released_at IS NULL AND l.shared_at IS NULL AND excluded.counter > l.counter AND (
    l.nonce_counter IS DISTINCT FROM l.counter
    OR excluded.trail IS NULL
    OR position(l.nonce IN excluded.trail) > 0
)
RETURNING l.instance, pg_postmaster_start_time() AS started
