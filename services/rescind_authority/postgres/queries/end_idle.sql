-- Ends idle sessions, and returns how many sessions it examined.
-- $1 bigint delay, in microseconds, with which uses are reported; it is added to the idle timeout
-- $2 bigint the most sessions to examine, those with the earliest `look_at` first
-- An ended session gets `ending` and an `expires_at` that has passed; its event is due at once
-- (`pending_ends.sql`). Its idle_timeouts row is deleted by the next run, which finds it over.
-- The start of the epoch counts as a use: a restored ledger lacks the uses since the backup.
-- Locks: FOR UPDATE and FOR NO KEY UPDATE, both SKIP LOCKED: a session that another transaction has
-- locked is left for a later run. Postgres checks the times again on the locked row, so a use that was
-- stored meanwhile counts.
-- Served by: idle_timeouts_look_at, idle_timeouts_pkey, tokens_pkey, ledger_epochs_pkey.
WITH clock AS MATERIALIZED (
    SELECT ledger_now() AS now, (SELECT max(began_at) FROM ledger_epochs) AS began
), due AS MATERIALIZED (
    SELECT token_id, idle_us FROM idle_timeouts
    WHERE look_at <= (SELECT now FROM clock)
    ORDER BY look_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), seen AS MATERIALIZED (
    SELECT
        due.token_id, (due.idle_us + $1::bigint) * interval '1 microsecond' AS idle,
        coalesce(s.state <> 'revoked' AND s.ended_seq IS NULL AND s.expires_at > clock.now, false) AS live,
        greatest(clock.began, in_use_until(s.issued_at, s.not_before, s.last_used_at)) AS used_at
    FROM clock CROSS JOIN due LEFT JOIN token_states AS s ON s.token_id = due.token_id
), idle AS (
    SELECT t.token_id
    FROM clock CROSS JOIN seen JOIN tokens AS t ON t.token_id = seen.token_id
    WHERE seen.live AND t.ended_seq IS NULL AND t.expires_at > clock.now
        AND clock.began + seen.idle <= clock.now
        AND in_use_until(t.issued_at, t.not_before, t.last_used_at) + seen.idle <= clock.now
    ORDER BY t.token_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), ended AS (
    UPDATE tokens AS t
    SET
        expires_at = greatest(t.issued_at + interval '1 microsecond', clock.now),
        ending = true,
        ending_reason = 'idle'
    FROM idle, clock
    WHERE t.token_id = idle.token_id
), over AS (
    DELETE FROM idle_timeouts AS i USING seen WHERE i.token_id = seen.token_id AND NOT seen.live
), later AS (
    -- The next run deletes the row of a session that ends here: it finds the session over.
    UPDATE idle_timeouts AS i
    SET look_at = greatest(seen.used_at + seen.idle, clock.now + interval '15 seconds')
    FROM seen, clock
    WHERE i.token_id = seen.token_id AND seen.live
)
SELECT count(*) AS looked_at FROM due
