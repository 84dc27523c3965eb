-- What binds the sidecars that enrol with a credential: the most lenient posture that one may declare
-- (NULL: any, of a credential from before this migration), and how many there may be at once (NULL: the
-- default).
ALTER TABLE tokens
    ADD COLUMN worst_posture  text,
    ADD COLUMN most_instances integer CHECK (most_instances >= 1);

-- The instances of sidecars, as they enrolled: with which credential (its token id), for which service,
-- and in which posture at the worst (NULL: any). `evicted_by` is the administrator who evicted it; NULL
-- with a time: it contradicted its own enrolment.
CREATE TABLE enrolments (
    instance    bytea       PRIMARY KEY CHECK (length(instance) = 16),
    epoch       bigint      NOT NULL,
    credential  text        NOT NULL,
    service     text        NOT NULL,
    posture     text,
    enrolled_at timestamptz NOT NULL,
    evicted_at  timestamptz,
    evicted_by  text,
    evicted_why text
);
CREATE INDEX enrolments_credential ON enrolments (credential);

-- What a wide selector spares unless it is named: admin tokens, and the credentials of sidecars. It says
-- in SQL what core.revocation.spares says; a test compares the two.
-- Credentials from before this migration lack the handle `kind:sidecar`, and are hit as ever: what
-- once ended one of them must not be undone.
-- One expression, stable and without a subquery, so that the planner puts it into the query.
CREATE FUNCTION spares(selector text[], handles text[]) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN (
    '*' = ANY (selector) AND 'kind:admin' = ANY (handles) AND NOT 'kind:admin' = ANY (selector)
) OR (
    'kind:sidecar' = ANY (handles) AND NOT 'kind:sidecar' = ANY (selector)
    -- Handles are printable: none has a line feed in it.
    AND array_to_string(selector, E'\n')
        ~ E'^((\\*|(kind|tenant|label|client|issuer):[^\n]*)(\n|$))+$'
);

-- As in 0014, but for what is spared.
DROP VIEW token_states;
CREATE VIEW token_states AS
SELECT t.*, coalesce(
    (SELECT 'revoked' FROM revoked_tokens AS r WHERE r.token_id = t.token_id),
    CASE WHEN t.handles && (
        SELECT CASE WHEN count(*) > 64 THEN '{*}' ELSE coalesce(array_agg(anchor), '{}') END
        FROM (
            (
                SELECT anchor FROM revocations
                WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
                    AND effect <> 'narrow'
                LIMIT 65
            )
            UNION ALL
            (
                SELECT anchor FROM revocations
                WHERE effect = 'revoke' AND seq > (SELECT seq FROM sweep)
                ORDER BY seq
                LIMIT 65
            )
        ) AS suspect
    ) THEN (
        -- As core.verdict.standing says: a revoke is named before a suspension, and an unknown
        -- effect revokes unless a suspension holds too.
        SELECT CASE
            WHEN bool_or(effect = 'revoke') OR NOT bool_or(effect = 'suspend') THEN 'revoked'
            WHEN bool_or(effect = 'suspend') THEN 'suspended'
        END
        FROM (
            SELECT * FROM revocations
            WHERE anchor = ANY (t.handles) AND seq > t.issued_seq AND effect = 'revoke'
            UNION ALL
            SELECT * FROM revocations
            WHERE anchor = ANY (t.handles) AND effect <> 'narrow'
                AND effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL
        ) AS r
        WHERE r.selector <@ t.handles
            AND (r.issued_before IS NULL OR r.issued_before > (
                SELECT min(family.issued_at) FROM tokens AS family
                WHERE family.token_id = ANY (t.lineage || t.token_id)
                    AND r.selector <@ family.handles
            ))
            AND NOT spares(r.selector, t.handles)
    ) END,
    CASE
        WHEN t.ended_seq IS NOT NULL
            OR t.expires_at <= (
                SELECT ledger_time(latest_at, statement_timestamp()) FROM ledger_head
            ) THEN 'expired'
        ELSE 'active'
    END
) AS state
FROM tokens AS t;
