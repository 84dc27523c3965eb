-- Who was delegated from whom: the children of a token, in the order in which they were issued.

CREATE INDEX tokens_parent ON tokens ((lineage[cardinality(lineage)]), token_id)
    WHERE cardinality(lineage) > 0;
