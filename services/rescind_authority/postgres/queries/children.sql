-- Lists the children of tokens, oldest first.
-- $1 text[] token ids of the parents
-- $2 text only children after this token id; NULL: from the first
-- $3 bigint the most children of one parent
-- Served by: tokens_parent.
SELECT p.parent, c.token_id
FROM unnest($1::text[]) WITH ORDINALITY AS p (parent, place)
CROSS JOIN LATERAL (
    SELECT token_id FROM tokens
    WHERE cardinality(lineage) > 0 AND lineage[cardinality(lineage)] = p.parent
        AND token_id > coalesce($2, '')
    ORDER BY token_id
    LIMIT $3
) AS c
ORDER BY p.place, c.token_id
