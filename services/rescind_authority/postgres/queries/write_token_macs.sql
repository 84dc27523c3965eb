-- Writes the MACs $4 of the tokens $1, with what they cover besides: the ends $2 and the seqs $3.
-- Served by: tokens_pkey.
UPDATE tokens AS t SET granted_until = e.granted_until, changed_seq = e.changed_seq, mac = e.mac
FROM unnest($1::text[], $2::timestamptz[], $3::bigint[], $4::bytea[])
    AS e (token_id, granted_until, changed_seq, mac)
WHERE t.token_id = e.token_id
