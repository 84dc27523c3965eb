-- Counts the tokens under one name of an index, without reading a token.
-- $1 text index of the view tokens_along: `id`, `subject`, `client`, `tenant` or `revoked`
-- $2 text name in that index, such as a subject; empty for `id` and `revoked`
-- $3 bigint the count stops here
-- Served by: tokens_pkey, tokens_subject, tokens_client, tokens_tenant, revoked_tokens_pkey.
SELECT count(*) AS counted FROM (
    SELECT FROM tokens_along WHERE along = $1 AND name = $2 LIMIT $3
) AS found
