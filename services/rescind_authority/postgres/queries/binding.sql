-- Reads the row of a credential, which limits the sidecars that enrol with it.
-- $1 text token id of the credential
-- Served by: tokens_pkey.
SELECT t AS whole FROM tokens AS t WHERE token_id = $1
