-- Locks the credential $1, so that of two enrolments at once the second counts the first.
-- Served by: tokens_pkey.
SELECT FROM tokens WHERE token_id = $1 FOR NO KEY UPDATE
