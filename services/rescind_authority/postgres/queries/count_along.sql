-- Counts the tokens along the index $1 in the place $2, up to the bound $3. No token is read.
-- Served by: tokens_pkey, tokens_subject, tokens_client, tokens_tenant.
SELECT count(*) AS counted FROM (
    SELECT FROM tokens_along WHERE along = $1 AND name = $2 LIMIT $3
) AS found
