-- Which trust statement a sidecar goes by: the number that its last heartbeat told. NULL: it tells none.
ALTER TABLE leases ADD COLUMN trust_serial bigint;
