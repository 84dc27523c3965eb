-- Every effect: a kill is two revocations under one id, and a lift names what it ends.
-- A receipt is one for each id, of its last event; so it refers to no single row any more.

ALTER TABLE receipts DROP CONSTRAINT receipts_revocation_id_fkey;
ALTER TABLE revocations
    DROP CONSTRAINT revocations_pkey,
    ADD PRIMARY KEY (revocation_id, seq),
    ADD COLUMN lifts text,
    ADD CHECK (lifts IS NULL OR effect = 'lift');
-- A lift and a change hold nothing: no look-up steps over the old ones of a subject.
DROP INDEX revocations_standing;
CREATE INDEX revocations_standing ON revocations (anchor)
    WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL;
-- What ends by itself, in the order of its ends.
CREATE INDEX revocations_until ON revocations (until)
    WHERE until IS NOT NULL AND lifted_at IS NULL AND effect NOT IN ('revoke', 'lift', 'changed');
