-- Deletes a client, and writes an audit entry. Returns no row if the client has another credential.
-- $1 text client id
-- $2 text token id of its credential
-- $3 text actor's name in the audit
-- Served by: clients_pkey.
WITH client AS (
    DELETE FROM clients WHERE client_id = $1 AND credential = $2 RETURNING client_id, credential, registration
),
entry AS (
    INSERT INTO audit (at, actor, action, target, detail)
    SELECT
        clock_timestamp(), $3, 'client-remove', client_id,
        jsonb_build_object('credential', credential, 'registration', registration)
    FROM client
)
SELECT client_id FROM client
