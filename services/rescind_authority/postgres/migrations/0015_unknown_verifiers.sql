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

-- Two processes with one instance id: a sidecar that was copied with its memory. `nonce` is that of
-- the last heartbeat that counted, if `nonce_counter` is its counter: an authority that is not upgraded
-- yet writes neither. `trail` has the nonces that its sender had used before, one after the other;
-- NULL from an older sidecar, which names none. From `shared_at` on the id gets no lease, and neither
-- an acknowledgement nor a release settles its row.
ALTER TABLE leases
    ADD COLUMN nonce bytea CHECK (length(nonce) = 16),
    ADD COLUMN nonce_counter bigint,
    ADD COLUMN trail bytea,
    ADD COLUMN shared_at timestamptz;
