-- Counts the tokens of a random sample that match the handles, the other conditions, or both.
-- $1 real percentage of the table's pages to read
-- $2 text[] handles (`having`, `wanted`)
-- $3 timestamptz issued from this time on (`alike`, `wanted`); NULL: any time
-- $4 timestamptz issued before this time (`alike`, `wanted`); NULL: any time
-- $5 text in this state (`alike`, `wanted`); NULL: any state
-- Served by: TABLESAMPLE SYSTEM; tokens_pkey, and the indexes of the view token_states.
SELECT
    count(*) AS looked_at,
    count(*) FILTER (WHERE named) AS having,
    count(*) FILTER (WHERE alike) AS alike,
    count(*) FILTER (WHERE named AND alike) AS wanted
FROM (
    SELECT
        handles @> $2::text[] AS named,
        ($3::timestamptz IS NULL OR issued_at >= $3)
            AND ($4::timestamptz IS NULL OR issued_at < $4)
            AND ($5::text IS NULL OR $5 = (
                SELECT state FROM token_states AS s WHERE s.token_id = t.token_id
            )) AS alike
    FROM tokens AS t TABLESAMPLE SYSTEM ($1)
    OFFSET 0
) AS seen
