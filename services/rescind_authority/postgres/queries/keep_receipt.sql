-- Keeps a receipt as it was first said, and gives the one that is kept; nothing, and no row, where
-- the revocation is not in the ledger: a restored backup lost it while somebody waited.
-- Served by: revocations_pkey, receipts_pkey.
INSERT INTO receipts (revocation_id, enforced_at, envelope)
SELECT $1, timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3
WHERE EXISTS (SELECT FROM revocations WHERE revocation_id = $1)
ON CONFLICT (revocation_id) DO UPDATE SET revocation_id = excluded.revocation_id
RETURNING envelope
