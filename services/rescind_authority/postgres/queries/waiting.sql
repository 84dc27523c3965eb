-- Reads what a waiter needs, in one snapshot after the COMMIT that it waits for: the ledger's end
-- and its term, and every lease row. One row for each instance, one without if there are none.
-- Served by: a scan of leases; there are as many rows as sidecars.
SELECT
    h.epoch, h.seq, h.wait_term_ms, ledger_time(h.latest_at, clock_timestamp()) AS at,
    pg_is_in_recovery() AS in_recovery,
    l.instance, l.service, l.posture, l.row_version, l.epoch AS lease_epoch, l.acked_seq,
    l.released_at IS NOT NULL AS released
FROM ledger_head AS h
LEFT JOIN leases AS l ON true
