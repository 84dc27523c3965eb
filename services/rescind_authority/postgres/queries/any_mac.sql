-- Returns whether an authority with a key for rows has worked on this database.
-- Served by: the only row; tokens by a scan that ends at the first MAC.
SELECT EXISTS (SELECT FROM ledger_head WHERE mac IS NOT NULL)
    OR EXISTS (SELECT FROM tokens WHERE mac IS NOT NULL) AS any_mac
