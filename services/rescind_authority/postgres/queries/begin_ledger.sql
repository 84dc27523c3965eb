-- Begins the ledger, unless there is one.
-- $1 bigint first epoch
-- $2 bytea head at seq 0
-- $3 bigint lease term in ms
-- Served by: ledger_head_pkey.
WITH begun AS (
    INSERT INTO ledger_head (epoch, seq, head, grant_term_ms, wait_term_ms)
    VALUES ($1, 0, $2, $3, $3)
    ON CONFLICT (one) DO NOTHING
    RETURNING epoch, seq, head
)
INSERT INTO ledger_epochs (epoch, base_seq, base_head, began_at)
SELECT epoch, seq, head, clock_timestamp() FROM begun
