-- Reads the ledger's end, the wait term, every lease row and the last event of a revocation, in one
-- snapshot. A waiter runs it after the COMMIT of the revocation that it waits for.
-- $1 text revocation id; NULL: none
-- Returns one row for each instance; one row without an instance if there are none.
-- `event_epoch` and `event_seq` are the position of that event. NULL although $1 is not: this server
-- lacks the commit.
-- `unknown_grace_ms` is the longest grace of a verifier that the ledger may not know; NULL: none.
-- `shared`: two processes have the instance, or it was evicted. Its acknowledgement or release is then
-- no evidence of enforcement.
-- `server` identifies the server.
-- Served by: a scan of leases, which has one row for each sidecar; revocations_pkey,
-- ledger_epochs_pkey, enrolments_pkey.
SELECT
    h.epoch, h.seq, h.wait_term_ms, ledger_time(h.latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery, r.epoch AS event_epoch, r.seq AS event_seq,
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
