-- Enrols an instance, unless its credential has too many instances already or the instance was evicted.
-- $1 bytea instance
-- $2 text token id of the credential
-- $3 text service
-- $4 text most lenient posture that the instance may declare; NULL: any
-- $5 bigint the other instances that have a place must be fewer than this
-- $6 bigint the other instances that had a lease in the last hour must be fewer than this
-- An instance has a place if it is not released or evicted, and if it enrolled or sent a heartbeat
-- within the last wait term and minute (`silence`; also in `enrolments.sql`).
-- Deletes enrolments of this credential that were silent for an hour longer than that. The enrolment of
-- an instance that was evicted because it contradicted it stays for at least a day. The enrolment of an
-- instance that an administrator evicted is never deleted.
-- Locks: the caller has locked the credential (`lock_credential`). So no other enrolment with it is
-- written between the count and the COMMIT.
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
