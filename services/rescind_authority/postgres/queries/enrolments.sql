-- Reads what the instances $1 enrolled as. `silent`: it neither enrolled nor sent a heartbeat that counted
-- for a wait and a minute, so that its place may be another's by now, and it has to enrol again.
-- Served by: enrolments_pkey, leases_pkey.
SELECT
    e.instance, e.credential, e.service, e.posture, e.evicted_why,
    greatest(e.enrolled_at, l.last_seen)
        < ledger_time(h.latest_at, clock_timestamp())
            - h.wait_term_ms * interval '1 ms' - interval '1 minute' AS silent
FROM ledger_head AS h
JOIN enrolments AS e ON e.instance = ANY ($1::bytea[])
LEFT JOIN leases AS l ON l.instance = e.instance
