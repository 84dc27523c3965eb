-- Remembers how far the sweep has come: every revoke up to $1, and of the next one what is not below
-- the id $2 (NULL: nothing).
-- Served by: the only row.
UPDATE sweep SET seq = $1, before = $2
