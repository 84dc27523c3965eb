-- What stands, newest first: a lift looks for it, and most of a ledger is revokes.

CREATE INDEX revocations_standing_seq ON revocations (seq)
    WHERE effect NOT IN ('revoke', 'lift', 'changed') AND lifted_at IS NULL;
