-- Reads the enrolments of instances.
-- $1 bytea[] instances
-- `silent`: the instance neither enrolled nor sent a heartbeat that counted within the last wait term
-- and minute. Another instance may have its place by now, so it must enrol again.
-- Served by: enrolments_pkey, leases_pkey.
SELECT
    e.instance, e.credential, e.service, e.posture, e.evicted_why,
    greatest(e.enrolled_at, l.last_seen)
        < ledger_time(h.latest_at, clock_timestamp())
            - h.wait_term_ms * interval '1 ms' - interval '1 minute' AS silent
FROM ledger_head AS h
JOIN enrolments AS e ON e.instance = ANY ($1::bytea[])
LEFT JOIN leases AS l ON l.instance = e.instance
