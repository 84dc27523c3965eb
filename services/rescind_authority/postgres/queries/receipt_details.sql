-- Reads chunks of a receipt's details, in order.
-- $1 text revocation id
-- $2 integer number of the first chunk
-- $3 integer number after the last chunk
-- Served by: receipt_details_pkey.
SELECT chunk FROM receipt_details
WHERE revocation_id = $1 AND number >= $2 AND number < $3
ORDER BY number
