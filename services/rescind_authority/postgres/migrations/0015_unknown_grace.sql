-- Verifiers that a restored ledger does not know: they began after the backup was made, and may be in
-- grace. The longest grace that one of them may have, in ms; NULL: none of them is in grace any more.
-- An authority writes NULL after it has watched the epoch for so long by a clock that only counts:
-- what the wall clock shows decides nothing, and began_at is for people.

ALTER TABLE ledger_epochs ADD COLUMN unknown_grace_ms bigint
    CHECK (unknown_grace_ms BETWEEN 0 AND 3600000);

-- An epoch that began before this column existed may have begun a moment ago.
UPDATE ledger_epochs SET unknown_grace_ms = 3600000
FROM ledger_head
WHERE ledger_epochs.epoch = ledger_head.epoch AND ledger_epochs.epoch > 1;
