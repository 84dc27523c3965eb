-- Ends are positions of the ledger. A token that was expired early, and a secret that was rotated
-- away, keep the seq of the event that ended them: from there on no clock is asked.

ALTER TABLE tokens
    ADD COLUMN ending    boolean NOT NULL DEFAULT false, -- its end was moved: at expires_at an event is due
    ADD COLUMN ended_seq bigint;
ALTER TABLE retired_secrets ADD COLUMN ended_seq bigint;

-- The highest time that the ledger has recorded. Its time never runs behind that.
ALTER TABLE ledger_head ADD COLUMN latest_at timestamptz NOT NULL DEFAULT 'epoch';
UPDATE ledger_head SET latest_at = greatest(
    latest_at,
    (SELECT committed_at FROM revocations ORDER BY seq DESC LIMIT 1)
);

-- What ended by the clock before this migration: at seq 0, for its position was not kept. Which
-- tokens were expired and which only rotated cannot be told apart any more; an event for a token
-- that would have ended by itself does no harm.
UPDATE retired_secrets SET ended_seq = 0 WHERE good_until <= clock_timestamp();
UPDATE tokens AS t
SET
    ending = t.expires_at > clock_timestamp(),
    ended_seq = CASE WHEN t.expires_at <= clock_timestamp() THEN 0 END
FROM (
    SELECT DISTINCT substr(anchor, length('token:') + 1) AS token_id
    FROM revocations
    WHERE effect = 'changed' AND anchor LIKE 'token:%'
) AS changed
WHERE t.token_id = changed.token_id;

-- What will end by an event, in the order of the ends.
CREATE INDEX tokens_ending ON tokens (expires_at) WHERE ending AND ended_seq IS NULL;
CREATE INDEX retired_secrets_ending ON retired_secrets (good_until) WHERE ended_seq IS NULL;

-- The ledger's time: Postgres's clock, unless that was set back behind what the ledger has recorded.
-- A setback of more than an hour is taken for the correction of a clock that was wrong before: to
-- stand still that long would keep every new token alive.
CREATE FUNCTION ledger_time(latest_at timestamptz, clock timestamptz) RETURNS timestamptz
LANGUAGE sql STABLE
RETURN CASE
    WHEN latest_at > clock + interval '1 hour' THEN clock
    ELSE greatest(latest_at, clock)
END;
CREATE FUNCTION ledger_now() RETURNS timestamptz
LANGUAGE sql VOLATILE
RETURN (SELECT ledger_time(latest_at, clock_timestamp()) FROM ledger_head);

-- As in 0007, and a token that an event ended is `expired` whatever the clock shows.
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
            AND NOT (
                '*' = ANY (r.selector)
                AND 'kind:admin' = ANY (t.handles)
                AND NOT 'kind:admin' = ANY (r.selector)
            )
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
