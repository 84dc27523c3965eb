-- Counts what a revocation of the handles $1 hits of what has not ended: as it would now, or as the
-- event at the seq $4 did (NULL: now). Tokens issued before $2 (NULL: whenever; of a lineage the first
-- that has all handles counts, as in list_tokens), at most $3. What is spared unless it is named is
-- left out (`spares`), and of that the credentials of sidecars are counted. What was used in the last
-- day, and at which services, is as the sidecars' reports have it.
-- A token that an earlier revoke ended is known by its stamp; where the sweep has not come to that
-- revoke yet, its anchor is a `suspect`, and the rule is computed, as in token_states.
-- Served by: tokens_handles; handles of many tokens by a scan that ends at $3; revoked_tokens_pkey,
-- revocations_seq_key, revocations_anchor.
WITH place AS MATERIALIZED (
    SELECT
        coalesce($4::bigint, 9223372036854775807) AS seq,
        coalesce((SELECT committed_at FROM revocations WHERE seq = $4), ledger_now()) AS at,
        (SELECT seq FROM sweep) AS swept
), suspects AS MATERIALIZED (
    SELECT CASE WHEN count(*) > 64 THEN '{*}' ELSE coalesce(array_agg(anchor), '{}') END AS anchors
    FROM (
        SELECT anchor FROM revocations
        WHERE effect = 'revoke'
            AND seq > (SELECT swept FROM place) AND seq < (SELECT seq FROM place)
        ORDER BY seq
        LIMIT 65
    ) AS suspect
), hit AS (
    SELECT subject, lineage, used_by, last_used_at > statement_timestamp() - interval '1 day' AS used
    FROM tokens AS t
    WHERE handles @> $1::text[]
        AND issued_seq < (SELECT seq FROM place)
        AND (ended_seq IS NULL OR ended_seq > (SELECT seq FROM place))
        AND expires_at > (SELECT at FROM place)
        AND NOT EXISTS (
            SELECT FROM tokens AS above
            WHERE above.token_id = ANY (t.lineage) AND (
                above.ended_seq <= (SELECT seq FROM place)
                OR above.expires_at <= (SELECT at FROM place)
            )
        )
        AND ($2::timestamptz IS NULL OR $2 > (
            SELECT min(family.issued_at) FROM tokens AS family
            WHERE family.token_id = ANY (t.lineage || t.token_id) AND $1 <@ family.handles
        ))
        AND NOT spares($1, handles)
        -- Looked up by itself, for those alone that pass so far.
        AND coalesce(
            (SELECT r.seq FROM revoked_tokens AS r WHERE r.token_id = t.token_id),
            9223372036854775807
        ) >= (SELECT seq FROM place)
        AND CASE WHEN t.handles && (SELECT anchors FROM suspects) THEN NOT EXISTS (
            SELECT FROM revocations AS r
            WHERE r.anchor = ANY (t.handles) AND r.seq > t.issued_seq AND r.effect = 'revoke'
                AND r.seq < (SELECT seq FROM place)
                AND r.selector <@ t.handles
                AND (r.issued_before IS NULL OR r.issued_before > (
                    SELECT min(family.issued_at) FROM tokens AS family
                    WHERE family.token_id = ANY (t.lineage || t.token_id)
                        AND r.selector <@ family.handles
                ))
                AND NOT spares(r.selector, t.handles)
        ) ELSE true END
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
