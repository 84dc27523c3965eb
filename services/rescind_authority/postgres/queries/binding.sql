-- Reads what the credential $1 binds its sidecars to.
-- Served by: tokens_pkey.
SELECT worst_posture, most_instances FROM tokens WHERE token_id = $1
