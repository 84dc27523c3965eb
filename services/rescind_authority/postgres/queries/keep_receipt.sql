-- Writes a receipt with its details, unless there is one, and returns the receipt that is stored.
-- $1 text revocation id
-- $2 bigint time of enforcement, in Unix microseconds
-- $3 bytea signed envelope
-- $4 bytea[] chunks of the details, in order; empty: the receipt has none
-- Returns no row, and writes nothing, if the revocation is not in the ledger: a restore lost it.
-- Locks: ON CONFLICT DO UPDATE locks the stored receipt, so the COMMIT also shows that it is durable
-- (`get_receipt.sql`).
-- Served by: revocations_pkey, receipts_pkey, receipt_details_pkey.
WITH kept AS (
    INSERT INTO receipts (revocation_id, enforced_at, envelope)
    SELECT $1, timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3
    WHERE EXISTS (SELECT FROM revocations WHERE revocation_id = $1)
    ON CONFLICT (revocation_id) DO UPDATE SET revocation_id = excluded.revocation_id
    RETURNING revocation_id, envelope
), details AS (
    INSERT INTO receipt_details (revocation_id, number, chunk)
    SELECT kept.revocation_id, chunks.place - 1, chunks.chunk
    FROM kept, unnest($4::bytea[]) WITH ORDINALITY AS chunks (chunk, place)
    WHERE kept.envelope = $3
    ON CONFLICT DO NOTHING
)
SELECT envelope FROM kept
