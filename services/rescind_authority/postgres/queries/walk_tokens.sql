-- Goes $5 tokens along the index $1 in the place $2, from below the id $3 down to above $4, newest
-- first, and names those that have all the handles $6, were issued from $7 to before $8 (NULL: any
-- time) and are in state $9 (NULL: any): at most $10. `last` is the last one gone past if that was
-- $5 tokens; NULL: there are no more.
-- The inner LIMIT keeps the planner on the index named, whatever it thinks of the handles.
-- Served by: tokens_pkey, tokens_subject, tokens_client, tokens_tenant; what token_states reads.
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
        -- Looked up by itself, for those alone that pass so far.
        AND ($9::text IS NULL OR $9 = (
            SELECT state FROM token_states AS s WHERE s.token_id = t.token_id
        ))
    ORDER BY passed.token_id DESC
    LIMIT $10
) AS found ON true
