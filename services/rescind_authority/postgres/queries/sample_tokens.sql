-- Looks at $1 percent of the tokens, page by page at random, and counts those that have all the
-- handles $2, were issued from $3 to before $4 (NULL: any time) and are in state $5 (NULL: any).
-- Served by: the sample itself; tokens_pkey, and what token_states reads.
SELECT
    count(*) AS looked_at,
    count(*) FILTER (
        WHERE handles @> $2::text[]
            AND ($3::timestamptz IS NULL OR issued_at >= $3)
            AND ($4::timestamptz IS NULL OR issued_at < $4)
            AND ($5::text IS NULL OR $5 = (
                SELECT state FROM token_states AS t WHERE t.token_id = looked.token_id
            ))
    ) AS fitting
FROM tokens AS looked TABLESAMPLE SYSTEM ($1)
