-- Writes a client and its audit entry. Returns a row, or none if another client is stored.
-- $1 text client id
-- $2 text token id of the credential
-- $3 text registration
-- $4 text subject of the actor that adds it
-- $5 text token id of the stored client's credential, which is replaced; NULL: the client is new
-- $6 text actor's name in the audit
-- Served by: clients_pkey.
WITH client AS (
    INSERT INTO clients AS c (client_id, credential, registration, created_by, created_at)
    VALUES ($1, $2, $3, $4, clock_timestamp())
    ON CONFLICT (client_id) DO UPDATE SET credential = $2, registration = $3
    WHERE c.credential = $5
    RETURNING client_id, credential, registration
),
entry AS (
    INSERT INTO audit (at, actor, action, target, detail)
    SELECT
        clock_timestamp(), $6, CASE WHEN $5::text IS NULL THEN 'client-add' ELSE 'client-rotate' END, client_id,
        jsonb_build_object('credential', credential, 'registration', registration)
    FROM client
)
SELECT client_id FROM client
