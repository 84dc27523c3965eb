-- Counts what a revocation of the handles $1 would hit of what has not ended: tokens issued before
-- $2 (NULL: whenever; of a lineage the first that has all handles counts, as in list_tokens), at
-- most $3. What is spared unless it is named is left out (`spares`), and of that the credentials of
-- sidecars are counted. What was used in the last day, and at which services, is as the sidecars'
-- reports have it.
-- Served by: tokens_handles; handles of many tokens by a scan that ends at $3.
WITH hit AS (
    SELECT subject, lineage, used_by, last_used_at > statement_timestamp() - interval '1 day' AS used
    FROM tokens AS t
    WHERE handles @> $1::text[]
        AND ended_seq IS NULL
        AND expires_at > (SELECT ledger_now())
        AND ($2::timestamptz IS NULL OR $2 > (
            SELECT min(family.issued_at) FROM tokens AS family
            WHERE family.token_id = ANY (t.lineage || t.token_id) AND $1 <@ family.handles
        ))
        AND NOT spares($1, handles)
    LIMIT $3
)
SELECT
    count(*) AS tokens,
    count(DISTINCT subject) AS subjects,
    count(*) FILTER (WHERE cardinality(lineage) > 0) AS delegated,
    count(*) FILTER (WHERE used) AS used,
    ARRAY(
        SELECT DISTINCT service FROM hit, unnest(used_by) AS service WHERE used ORDER BY service
    ) AS services,
    (
        SELECT count(*) FROM (
            SELECT FROM tokens
            WHERE handles @> ($1 || '{kind:sidecar}'::text[]) AND spares($1, handles)
                AND ended_seq IS NULL AND expires_at > (SELECT ledger_now())
            LIMIT $3
        ) AS spared
    ) AS spared_credentials
FROM hit
