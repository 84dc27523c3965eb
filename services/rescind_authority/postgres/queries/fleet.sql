-- Lists every sidecar that is known, the latest heard first.
-- Served by: a scan; there are as many rows as sidecars.
SELECT
    instance, service, host, version_text, posture, epoch, applied_seq, acked_seq, first_seen,
    last_seen, released_at
FROM leases
ORDER BY released_at IS NOT NULL, service, last_seen DESC, instance
