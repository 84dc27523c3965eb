"""Show tokens, trees, revocations and the fleet."""
