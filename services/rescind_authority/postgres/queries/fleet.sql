-- Lists every sidecar with its enrolment: those that are not released first, then by service, the
-- latest heartbeat first.
-- Served by: a scan of leases, which has one row for each sidecar; enrolments_pkey.
SELECT
    l.instance, l.service, l.host, l.version_text, l.posture, l.epoch, l.applied_seq, l.acked_seq,
    l.first_seen, l.last_seen, l.released_at, nullif(e.credential, '') AS credential, e.evicted_at,
    e.evicted_why, l.trust_serial
FROM leases AS l
LEFT JOIN enrolments AS e ON e.instance = l.instance
ORDER BY l.released_at IS NOT NULL, l.service, l.last_seen DESC, l.instance
