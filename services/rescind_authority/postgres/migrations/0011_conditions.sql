-- Where a token may be used: from which networks, and at verifiers with which labels.

ALTER TABLE tokens
    ADD COLUMN addresses text[] NOT NULL DEFAULT '{}' CHECK (cardinality(addresses) <= 16),
    ADD COLUMN verifier  jsonb  NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(verifier) = 'object');
