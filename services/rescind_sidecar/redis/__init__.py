"""Records in Redis, which earlier look-ups of other verifiers caused."""
