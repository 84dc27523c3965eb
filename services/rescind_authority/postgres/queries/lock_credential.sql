-- Locks a credential. Enrolments with one credential then run one after the other, and each counts
-- the former ones.
-- $1 text token id of the credential
-- Locks: FOR NO KEY UPDATE, until the COMMIT.
-- Served by: tokens_pkey.
SELECT FROM tokens WHERE token_id = $1 FOR NO KEY UPDATE
