-- Enrols the instance $1 with the credential $2, which is locked, for the service $3 in the posture $4
-- at the worst, if fewer than $5 others have a place and fewer than $6 had a lease in the last hour. An
-- instance that was evicted stays so. One that was silent for a wait and a minute has no place
-- (`enrolments.sql`). One that was silent for an hour is forgotten; an instance that evicted itself a day
-- later, and one that an administrator evicted never.
-- Served by: enrolments_pkey, enrolments_credential, leases_pkey.
WITH head AS (
    SELECT
        epoch, ledger_time(latest_at, clock_timestamp()) AS now,
        wait_term_ms * interval '1 ms' + interval '1 minute' AS silence
    FROM ledger_head
), known AS (
    SELECT
        e.instance, e.evicted_at, e.evicted_by, e.evicted_why,
        greatest(e.enrolled_at, l.last_seen) AS last_seen,
        l.instance IS NOT NULL AS begun,
        e.epoch = head.epoch AND e.evicted_at IS NULL AND l.released_at IS NULL
            AND greatest(e.enrolled_at, l.last_seen) >= head.now - head.silence AS placed
    FROM head
    JOIN enrolments AS e ON e.credential = $2
    LEFT JOIN leases AS l ON l.instance = e.instance
), forgotten AS (
    DELETE FROM enrolments AS e
    USING known, head
    WHERE e.instance = known.instance AND e.instance <> $1 AND known.evicted_by IS NULL
        AND known.last_seen < head.now - interval '1 hour' - silence
        AND (
            known.evicted_at IS NULL OR known.evicted_at < head.now - interval '1 day'
        )
), others AS (
    SELECT
        count(*) FILTER (WHERE known.placed) AS placed,
        count(*) FILTER (
            WHERE known.begun AND known.last_seen >= head.now - interval '1 hour'
        ) AS begun
    FROM head
    LEFT JOIN known ON known.instance <> $1
), enrolled AS (
    INSERT INTO enrolments AS e (instance, epoch, credential, service, posture, enrolled_at)
    SELECT $1, head.epoch, $2, $3, $4, head.now
    FROM head, others
    WHERE others.placed < $5 AND others.begun < $6
    ON CONFLICT (instance) DO UPDATE SET
        epoch = excluded.epoch,
        credential = excluded.credential,
        service = excluded.service,
        posture = excluded.posture,
        enrolled_at = excluded.enrolled_at
    WHERE e.evicted_at IS NULL
    RETURNING instance
)
SELECT
    EXISTS (SELECT FROM enrolled) AS enrolled, others.placed, others.begun,
    (SELECT evicted_why FROM enrolments WHERE instance = $1) AS evicted_why
FROM others
