-- Counts what a revocation hits: tokens, subjects, delegated tokens, recently used tokens and services.
-- $1 text[] handles of the selector
-- $2 timestamptz cutoff; NULL: none
-- $3 bigint the count of tokens stops here
-- $4 bigint seq of the revocation, to count what it hit then; NULL: what it would hit now
-- Only tokens that have not ended count. Tokens that `spares` excludes are left out, and the
-- credentials of sidecars among them are counted as `spared_credentials`.
-- For the cutoff, the first token of the lineage that has all the handles counts.
-- `used` and `services` come from the sidecars' reports of the last day.
-- A token that an earlier revoke ended has a revoked mark. A revoke that the sweep has not reached has
-- written no marks: its anchor is a `suspect`, and tokens with that handle are compared with it, as in
-- the view token_states.
-- Served by: tokens_handles, or a scan that stops at $3 if most tokens have the handles;
-- revoked_tokens_pkey, revocations_seq_key, revocations_anchor.
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
        -- A subquery, so that it runs only for the rows that pass the conditions above.
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
