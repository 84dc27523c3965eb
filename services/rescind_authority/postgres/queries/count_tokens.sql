-- Counts the tokens with all the handles $1, up to the bound $2.
-- Served by: tokens_handles.
SELECT count(*) AS counted FROM (
    SELECT FROM tokens WHERE handles @> $1::text[] LIMIT $2
) AS found
