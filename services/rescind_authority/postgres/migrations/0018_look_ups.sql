-- Possession: the SHA-256 of a value that is derived from the whole text of a token. By it the authority
-- recognises the holder of a secret after a rotation; a copy of the table does not give the value
-- itself. Secrets from before this migration have none, so their use after a rotation ends no token.
ALTER TABLE tokens ADD COLUMN possession_hash bytea CHECK (length(possession_hash) = 32);
ALTER TABLE retired_secrets ADD COLUMN possession_hash bytea CHECK (length(possession_hash) = 32);

-- Instances that are over, kept until the next epoch, in which their MAC is not valid any more: a
-- recorded heartbeat of theirs opens no lease row after their own was deleted.
CREATE TABLE ended_instances (
    instance bytea PRIMARY KEY CHECK (length(instance) = 16)
);
INSERT INTO ended_instances (instance)
SELECT instance FROM leases WHERE released_at IS NOT NULL OR shared_at IS NOT NULL;
