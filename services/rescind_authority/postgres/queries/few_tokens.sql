-- Names the tokens below the id $2, newest first, that have all the handles $1, where that are not
-- more than $6 tokens, were issued from $3 to before $4 (NULL: any time) and are in state $5 (NULL:
-- any): at most $7. One row with `many` where they are more, and perhaps no row.
-- Served by: tokens_handles; what token_states reads.
WITH few AS MATERIALIZED (
    SELECT token_id FROM tokens WHERE handles @> $1::text[] LIMIT $6 + 1
), counted AS MATERIALIZED (
    SELECT count(*) > $6 AS many FROM few
), ordered AS (
    SELECT token_id FROM few WHERE token_id < $2 ORDER BY token_id DESC LIMIT $6
)
SELECT counted.many, found.token_id
FROM counted
LEFT JOIN LATERAL (
    SELECT ordered.token_id
    FROM ordered
    JOIN tokens AS t USING (token_id)
    WHERE ($3::timestamptz IS NULL OR t.issued_at >= $3)
        AND ($4::timestamptz IS NULL OR t.issued_at < $4)
        AND ($5::text IS NULL OR $5 = (
            SELECT state FROM token_states AS s WHERE s.token_id = t.token_id
        ))
    ORDER BY ordered.token_id DESC
    LIMIT $7
) AS found ON NOT counted.many
