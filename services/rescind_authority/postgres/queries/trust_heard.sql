-- Reads the trust statement that each sidecar uses, and the wait term and posture of its last lease.
-- Released sidecars are left out. Returns one row without an instance if there are none.
-- Served by: a scan of leases, which has one row for each sidecar.
SELECT
    l.instance, l.service, l.host, l.posture, l.trust_serial, l.last_seen, h.wait_term_ms,
    ledger_time(h.latest_at, clock_timestamp()) AS at
FROM ledger_head AS h
LEFT JOIN leases AS l ON l.released_at IS NULL
ORDER BY l.service, l.host, l.instance
