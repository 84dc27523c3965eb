-- Where a session began, to show to whoever it belongs to: told by the issuer, and in no record.

ALTER TABLE tokens ADD COLUMN user_agent text, ADD COLUMN address inet;
