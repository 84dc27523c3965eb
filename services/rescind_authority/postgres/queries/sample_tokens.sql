-- Looks at $1 percent of the tokens, page by page at random, and counts those that have all the
-- handles $2, those that are `alike`, which is issued from $3 to before $4 (NULL: any time) and in
-- state $5 (NULL: any), and those that are both.
-- Served by: the sample itself; tokens_pkey, and what token_states reads.
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
