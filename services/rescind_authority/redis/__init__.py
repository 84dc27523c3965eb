"""The Redis adapter: records for the sidecars that look them up next."""
