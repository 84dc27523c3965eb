-- Lists the tokens that have all the given handles, newest first, if those are few.
-- $1 text[] handles
-- $2 text only tokens below this token id
-- $3 timestamptz only tokens issued from this time on; NULL: any time
-- $4 timestamptz only tokens issued before this time; NULL: any time
-- $5 text only tokens in this state; NULL: any state
-- $6 bigint the most tokens with these handles that count as few
-- $7 bigint the most tokens to list
-- `many`: more than $6 tokens have the handles, and the one row names none.
-- Served by: tokens_handles, and the indexes of the view token_states.
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
