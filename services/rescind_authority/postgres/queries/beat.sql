-- G1 of a lease: stores heartbeats in the order given (sorted), and returns those that counted.
-- A stale counter changes nothing; a released or shared instance never comes back. A position counts
-- as acknowledged only if its head is the ledger's own at that seq. The heartbeat of a copy does not
-- count. A copy does not know the nonce of the last heartbeat that counted (`refuse.sql`). `started`
-- identifies the server.
-- An ended instance gets no row any more, also after its own row was swept away (ended_instances).
-- A version is never used twice, also after the row was swept away: a waiter that watched the old row
-- would take the new one for an unchanged row. The counter only grows, so it keeps them apart.
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
