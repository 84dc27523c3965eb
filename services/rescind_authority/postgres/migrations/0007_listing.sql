-- Lists and counts of ten million tokens: an index for each order in which they are gone through,
-- and the stamps that the sweep leaves on what a revoke ended.

-- A list goes along one of these, newest first, or along a primary key.
CREATE INDEX tokens_subject ON tokens (subject, token_id);
CREATE INDEX tokens_client ON tokens (client, token_id) WHERE client IS NOT NULL;
CREATE INDEX tokens_tenant ON tokens (tenant, token_id) WHERE tenant IS NOT NULL;

-- New tokens go into the index itself, not into a list beside it that every look-up reads through: that
-- made looking up to ten times slower, and issuing no faster (measured among ten million).
ALTER INDEX tokens_handles SET (fastupdate = off);

-- Tokens that a revoke ended, which is final: `seq` is the first revoke that did. A table of its
-- own: a stamp in `tokens` would write each of its indexes anew. It refers to no row, for a check
-- would write a lock into every token.
CREATE TABLE revoked_tokens (
    token_id text   PRIMARY KEY,
    seq      bigint NOT NULL
);

-- How far the sweep has come. There is one row, and whoever holds its lock is sweeping.
-- Every revoke up to `seq` is stamped, and whatever of the next one is not below `before`.
CREATE TABLE sweep (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq    bigint  NOT NULL,
    before text
);
INSERT INTO sweep (seq) VALUES (0);
ALTER TABLE revocations ADD COLUMN stamped bigint NOT NULL DEFAULT 0;

-- What has become of each token. A stamp says it at once, and so does the absence of every
-- `suspect`: an anchor of a suspension, or of a revoke that the sweep has not come to yet. Of more
-- than 64 suspects nobody asks which: `*` is everybody's handle. The rest is computed: the lateral
-- says in SQL what core.revocation.hits says; a test compares the two.
-- Served by: revoked_tokens_pkey; revocations_anchor, revocations_standing, revocations_seq_key.
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
    CASE WHEN t.expires_at <= statement_timestamp() THEN 'expired' ELSE 'active' END
) AS state
FROM tokens AS t;

-- The tokens along each index that gives them in the order of their ids: `along` names the index,
-- `name` the place in it. Name both when you ask, and only one of the five is looked at. With a WHERE
-- of its own a branch would be sorted anew; with more columns it takes longer to plan than to run.
CREATE VIEW tokens_along AS
SELECT 'id' AS along, '' AS name, token_id FROM tokens
UNION ALL
SELECT 'subject', subject, token_id FROM tokens
UNION ALL
SELECT 'client', client, token_id FROM tokens
UNION ALL
SELECT 'tenant', tenant, token_id FROM tokens
UNION ALL
SELECT 'revoked', '', token_id FROM revoked_tokens;

-- Claims are forgotten by age.
CREATE INDEX idempotency_claimed ON idempotency (claimed_at);
