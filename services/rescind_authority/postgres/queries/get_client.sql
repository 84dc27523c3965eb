-- Reads a client.
-- $1 text client id
-- Served by: clients_pkey.
SELECT client_id, credential, registration, created_by, created_at FROM clients WHERE client_id = $1
