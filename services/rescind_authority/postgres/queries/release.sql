-- Ends instances for ever, in the order given (sorted). One that was never heard of gets a row
-- too, so that a heartbeat which the release overtook finds it ended.
-- Served by: leases_pkey.
INSERT INTO leases AS l (
    instance, service, host, version_text, posture, counter, row_version, first_seen, last_seen,
    released_at
)
SELECT
    r.instance, '', '', '', '', r.counter, r.counter, (SELECT ledger_now()),
    (SELECT ledger_now()), (SELECT ledger_now())
FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS r (instance, counter, place)
ORDER BY r.place
ON CONFLICT (instance) DO UPDATE SET
    counter = greatest(l.counter, excluded.counter),
    row_version = greatest(l.row_version + 1, excluded.row_version),
    last_seen = excluded.last_seen,
    released_at = excluded.released_at
WHERE l.released_at IS NULL
