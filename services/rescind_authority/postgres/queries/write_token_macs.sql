-- Writes the MACs of tokens, with the two columns that they cover and that older rows lack.
-- $1 text[] token ids
-- $2 timestamptz[] granted_until of each token
-- $3 bigint[] changed_seq of each token; NULL: no event changed the token
-- $4 bytea[] MAC of each token
-- Locks: the caller has locked the rows (`lock_token_rows`).
-- Served by: tokens_pkey.
UPDATE tokens AS t SET granted_until = e.granted_until, changed_seq = e.changed_seq, mac = e.mac
FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bytea[])
    AS e (token_id, granted_until, changed_seq, mac)
WHERE t.token_id = e.token_id
