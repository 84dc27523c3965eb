-- Reads clients, in the order of their ids.
-- $1 text only those after this id
-- $2 bigint the most rows
-- Served by: clients_pkey.
SELECT client_id, credential, registration, created_by, created_at
FROM clients
WHERE client_id > $1
ORDER BY client_id
LIMIT $2
