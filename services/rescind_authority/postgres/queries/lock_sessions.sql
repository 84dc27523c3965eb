-- Locks the sessions of subject $1 against other transactions that issue one, until this one ends: no
-- other one adds to what it counts after this.
-- Served by: no table.
SELECT pg_advisory_xact_lock(hashtextextended('sessions of ' || $1::text, 0))
