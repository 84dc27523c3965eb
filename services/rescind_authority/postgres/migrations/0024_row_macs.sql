-- Rows that an authority wrote carry a MAC, whose key is not in Postgres (postgres/integrity/row_macs.py). What was
-- there before gets its MAC by `rescind migrate`, in batches; from then on a row without one is denied.

ALTER TABLE tokens
    -- The latest end that the MAC allows; expires_at may be earlier. NULL: no MAC yet.
    ADD COLUMN granted_until timestamptz,
    -- The seq of the last event that rotated or ended the token; NULL: there was none.
    ADD COLUMN changed_seq bigint,
    ADD COLUMN mac bytea;
ALTER TABLE retired_secrets ADD COLUMN mac bytea;
ALTER TABLE ledger_head ADD COLUMN mac bytea;

-- An early end leaves not_before as it was issued: the MAC covers it.
ALTER TABLE tokens DROP CONSTRAINT tokens_check2;

-- The last change of each token, for those that get their MAC.
CREATE INDEX revocations_changed ON revocations (anchor, seq) WHERE effect = 'changed';
