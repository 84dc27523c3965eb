-- Reads what the credential $1 binds its sidecars to.
-- Served by: tokens_pkey.
SELECT t AS whole FROM tokens AS t WHERE token_id = $1
