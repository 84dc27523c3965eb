-- How far a token's power may be handed on: to whom, besides `<own subject>/<name>`, and how deep.

ALTER TABLE tokens
    ADD COLUMN may_speak_for text[]   NOT NULL DEFAULT '{}',
    ADD COLUMN max_depth     smallint CHECK (max_depth BETWEEN 0 AND 16);
