-- Lists the children of each of the tokens $1, oldest first: those after the id $2 (NULL: from the
-- first), at most $3 of each parent.
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
