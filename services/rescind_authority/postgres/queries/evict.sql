-- Evicts an instance, writes the audit entry, and returns until when the instance may have a lease.
-- $1 bytea instance
-- $2 text reason
-- $3 text name of the administrator; NULL: the instance contradicted its enrolment
-- Returns no row if the instance is unknown. An instance from before the table enrolments has a lease
-- row alone, and gets an enrolment here.
-- The first eviction stays, with one exception: an administrator's name and reason replace those of an
-- eviction without an administrator.
-- Served by: enrolments_pkey, leases_pkey.
WITH known AS (
    SELECT e.instance, e.epoch, e.credential, e.service, e.posture, e.enrolled_at
    FROM enrolments AS e
    WHERE e.instance = $1
    UNION ALL
    SELECT l.instance, h.epoch, '', l.service, l.posture, l.first_seen
    FROM leases AS l, ledger_head AS h
    WHERE l.instance = $1 AND NOT EXISTS (SELECT FROM enrolments WHERE instance = $1)
), evicted AS (
    INSERT INTO enrolments AS e (
        instance, epoch, credential, service, posture, enrolled_at, evicted_at, evicted_by,
        evicted_why
    )
    SELECT known.*, (SELECT ledger_now()), $3::text, $2 FROM known
    ON CONFLICT (instance) DO UPDATE SET
        evicted_at = coalesce(e.evicted_at, excluded.evicted_at),
        evicted_by = coalesce(e.evicted_by, excluded.evicted_by),
        evicted_why = CASE
            WHEN e.evicted_at IS NULL OR (e.evicted_by IS NULL AND excluded.evicted_by IS NOT NULL)
            THEN excluded.evicted_why
            ELSE e.evicted_why
        END
    RETURNING instance, service, credential, evicted_at, evicted_why
), entry AS (
    INSERT INTO audit (at, actor, action, target, seq, detail)
    SELECT
        ledger_now(), coalesce($3::text, 'rescind:enrolment'), 'evict', encode(instance, 'hex'), NULL,
        jsonb_build_object('service', service, 'credential', credential, 'reason', $2::text)
    FROM evicted
)
SELECT
    evicted.service, evicted.evicted_at, evicted.evicted_why, h.wait_term_ms,
    l.released_at IS NULL AS may_be_leased -- also without a row: a heartbeat may be in flight
FROM evicted
CROSS JOIN ledger_head AS h
LEFT JOIN leases AS l ON l.instance = evicted.instance
