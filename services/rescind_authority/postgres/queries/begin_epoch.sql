-- Begins an epoch at the ledger's end, and writes its audit entry.
-- $1 bigint number of the new epoch
-- $2 bytea first head of the new epoch
-- $3 bigint longest grace, in ms, of a verifier that began after the backup was made
-- $4 bytea MAC of the ledger's head
-- `unknown_grace_ms` of an earlier epoch that is not settled is carried over if it is longer.
-- Deletes ended_instances: the MAC of an instance of an earlier epoch is not valid in the new one.
-- Locks: the caller has locked the head (`lock_head`).
-- Served by: ledger_head (one row).
WITH moved AS (
    UPDATE ledger_head SET epoch = $1, head = $2, mac = $4 RETURNING epoch, seq, head
), begun AS (
    INSERT INTO ledger_epochs (epoch, base_seq, base_head, began_at, unknown_grace_ms)
    SELECT epoch, seq, head, clock_timestamp(), greatest(
        $3::bigint, (SELECT max(unknown_grace_ms) FROM ledger_epochs)
    ) FROM moved
    RETURNING epoch, base_seq, began_at
), forgotten AS (
    DELETE FROM ended_instances
)
INSERT INTO audit (at, actor, action, target, seq, detail)
SELECT began_at, 'new-epoch', 'epoch.began', 'ledger', base_seq, jsonb_build_object('epoch', epoch)
FROM begun
