-- Keeps a receipt as it was first said, and gives the one that is kept.
-- Served by: receipts_pkey.
INSERT INTO receipts (revocation_id, enforced_at, envelope)
VALUES ($1, timestamptz 'epoch' + $2::bigint * interval '1 microsecond', $3)
ON CONFLICT (revocation_id) DO UPDATE SET revocation_id = excluded.revocation_id
RETURNING envelope
