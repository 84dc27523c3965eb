-- Begins an epoch where the ledger ends, with its audit entry: $1 epoch, $2 its first head (with its MAC $4), $3 the
-- longest grace, in ms, of a verifier that began since the backup was made. What the last epoch may not
-- know is not known to this one either.
-- Instances of the last epoch have no MAC in this one, so those that are over are forgotten.
-- Served by: the only row, which is locked already.
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
