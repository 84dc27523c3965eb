-- Keeps a receipt as it was first said, and gives the one that is kept; nothing, and no row, where
-- the revocation is not in the ledger: a restored backup lost it during the wait. Its details are
-- kept beside it, in the same statement, if it is the one that is kept.
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
