-- Counts the tokens that have all the given handles.
-- $1 text[] handles
-- $2 bigint the count stops here
-- Served by: tokens_handles.
SELECT count(*) AS counted FROM (
    SELECT FROM tokens WHERE handles @> $1::text[] LIMIT $2
) AS found
