-- Reads a number of tokens along one index, newest first, and lists those that match.
-- $1 text index of the view tokens_along: `id`, `subject`, `client`, `tenant` or `revoked`
-- $2 text name in that index, such as a subject; empty for `id` and `revoked`
-- $3 text only tokens below this token id
-- $4 text only tokens above this token id
-- $5 bigint how many tokens to read along the index
-- $6 text[] handles that a listed token must have
-- $7 timestamptz only tokens issued from this time on; NULL: any time
-- $8 timestamptz only tokens issued before this time; NULL: any time
-- $9 text only tokens in this state; NULL: any state
-- $10 bigint the most tokens to list
-- `last` is the last of the $5 tokens; NULL: the index has no more.
-- The inner LIMIT makes the planner use the index $1, whatever it estimates for the handles.
-- Served by: tokens_pkey, tokens_subject, tokens_client, tokens_tenant, revoked_tokens_pkey, and the
-- indexes of the view token_states.
WITH way AS MATERIALIZED (
    SELECT (
        SELECT token_id FROM tokens_along
        WHERE along = $1 AND name = $2 AND token_id < $3 AND token_id > $4
        ORDER BY token_id DESC
        OFFSET $5 - 1
        LIMIT 1
    ) AS last
)
SELECT way.last, found.token_id
FROM way
LEFT JOIN LATERAL (
    SELECT passed.token_id
    FROM (
        SELECT token_id FROM tokens_along
        WHERE along = $1 AND name = $2 AND token_id < $3 AND token_id > $4
            AND token_id >= coalesce(way.last, $4)
        ORDER BY token_id DESC
        LIMIT $5
    ) AS passed
    JOIN tokens AS t USING (token_id)
    WHERE t.handles @> $6::text[]
        AND ($7::timestamptz IS NULL OR t.issued_at >= $7)
        AND ($8::timestamptz IS NULL OR t.issued_at < $8)
        -- A subquery, so that it runs only for the rows that pass the conditions above.
        AND ($9::text IS NULL OR $9 = (
            SELECT state FROM token_states AS s WHERE s.token_id = t.token_id
        ))
    ORDER BY passed.token_id DESC
    LIMIT $10
) AS found ON true
