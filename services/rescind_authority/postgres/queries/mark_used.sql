-- Writes when tokens were last used, and by which services.
-- $1 text[] token ids
-- $2 bytea[] instance that reported each use
-- $3 timestamptz[] time of each use
-- `last_used_at` only grows and is never in the future, so a repeated report changes nothing.
-- A token is written at most once in 15 s, unless the service is new to it: several sidecars report
-- the same token.
-- Locks: FOR NO KEY UPDATE SKIP LOCKED: two authorities do not wait for each other here. A later report
-- writes a token that was skipped.
-- Served by: tokens_pkey, leases_pkey.
WITH reported AS (
    SELECT
        u.token_id,
        coalesce(array_agg(DISTINCT l.service) FILTER (WHERE l.service IS NOT NULL), '{}') AS by,
        least(max(u.at), statement_timestamp()) AS at
    FROM unnest($1::text[], $2::bytea[], $3::timestamptz[]) AS u (token_id, instance, at)
    LEFT JOIN leases AS l ON l.instance = u.instance
    GROUP BY u.token_id
), used AS (
    SELECT t.token_id, r.by, r.at
    FROM tokens AS t
    JOIN reported AS r ON r.token_id = t.token_id
    WHERE t.last_used_at IS NULL OR t.last_used_at < r.at - interval '15 seconds'
        OR NOT r.by <@ t.used_by
    ORDER BY t.token_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
)
UPDATE tokens AS t
SET
    last_used_at = greatest(t.last_used_at, used.at),
    used_by = CASE
        WHEN used.by <@ t.used_by THEN t.used_by
        ELSE ARRAY(SELECT DISTINCT each FROM unnest(t.used_by || used.by) AS each ORDER BY each)
    END
FROM used
WHERE t.token_id = used.token_id
