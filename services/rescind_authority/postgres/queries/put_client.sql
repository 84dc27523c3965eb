-- Writes a client and its audit entry. Returns a row, or none if another client is stored, or none is
-- stored that could be replaced: it was removed meanwhile.
-- $1 text client id
-- $2 text token id of the credential
-- $3 text registration
-- $4 text subject of the actor that adds it
-- $5 text token id of the stored client's credential, which is replaced; NULL: the client is new
-- $6 text actor's name in the audit
-- Served by: clients_pkey.
WITH replaced AS (
    UPDATE clients SET credential = $2, registration = $3
    WHERE client_id = $1 AND credential = $5
    RETURNING client_id, credential, registration
),
added AS (
    INSERT INTO clients (client_id, credential, registration, created_by, created_at)
    SELECT $1, $2, $3, $4, clock_timestamp()
    WHERE $5::text IS NULL
    ON CONFLICT (client_id) DO NOTHING
    RETURNING client_id, credential, registration
),
client AS (
    SELECT client_id, credential, registration FROM replaced
    UNION ALL
    SELECT client_id, credential, registration FROM added
),
entry AS (
    INSERT INTO audit (at, actor, action, target, detail)
    SELECT
        clock_timestamp(), $6, CASE WHEN $5::text IS NULL THEN 'client-add' ELSE 'client-rotate' END, client_id,
        jsonb_build_object('credential', credential, 'registration', registration)
    FROM client
)
SELECT client_id FROM client
