-- Reads what a waiter needs, in one snapshot after the COMMIT that it waits for: the ledger's end
-- and its term, every lease row, the longest grace of a verifier that it may not know, and the last
-- event of the revocation $1 (NULL: none). That one shows whether the server has the commit at all.
-- `shared`: two processes have the id, or it was evicted: what it says settles nothing. `server` tells
-- which server it was.
-- One row for each instance, one without if there are none.
-- Served by: a scan of leases; there are as many rows as sidecars; revocations_pkey,
-- ledger_epochs_pkey, enrolments_pkey.
SELECT
    h.epoch, h.seq, h.wait_term_ms, ledger_time(h.latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery, r.epoch AS held_epoch, r.seq AS held_seq,
    e.unknown_grace_ms,
    l.instance, l.service, l.posture, l.row_version, l.epoch AS lease_epoch, l.acked_seq,
    pg_postmaster_start_time() AS server, l.released_at,
    l.shared_at IS NOT NULL OR EXISTS (
        SELECT FROM enrolments AS n WHERE n.instance = l.instance AND n.evicted_at IS NOT NULL
    ) AS shared,
    CASE WHEN l.trail IS NOT NULL AND l.nonce_counter = l.counter THEN l.nonce END AS nonce
FROM ledger_head AS h
LEFT JOIN LATERAL (
    SELECT epoch, seq FROM revocations WHERE revocation_id = $1 ORDER BY seq DESC LIMIT 1
) AS r ON true
LEFT JOIN ledger_epochs AS e ON e.epoch = h.epoch
LEFT JOIN leases AS l ON true
