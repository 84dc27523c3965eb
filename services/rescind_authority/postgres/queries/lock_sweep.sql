-- Takes the sweep, unless somebody else has it, and reads how far it has come.
-- Served by: the only row.
SELECT seq, before FROM sweep FOR UPDATE SKIP LOCKED
