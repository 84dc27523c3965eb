-- Reads chunks of a receipt's details, in their order.
-- Served by: receipt_details_pkey.
SELECT chunk FROM receipt_details
WHERE revocation_id = $1 AND number >= $2 AND number < $3
ORDER BY number
