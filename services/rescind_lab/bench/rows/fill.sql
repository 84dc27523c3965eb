-- Insert tokens $1 to $2 of one delegation tree, in the form that issuance stores.
-- No check reads them.
INSERT INTO tokens (
    token_id, token_hash, kind, subject, scopes, audience, labels, handles, issued_at, issued_seq,
    expires_at, created_by
)
SELECT
    'tok_fill-' || n, sha256(n::text::bytea), 'agent', 'agent:fill', '{work:do}', '{}', '{}',
    ARRAY[
        '*', 'chain:agent:fill', 'kind:agent', 'subject:agent:fill', 'token:tok_fill-' || n,
        'tree:tok_fill-' || n, 'tree:tok_fill-root'
    ],
    now(), 0, now() + interval '1 day', 'admin:bench'
FROM generate_series($1::bigint, $2::bigint) AS n
