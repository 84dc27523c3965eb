"""Records that other verifiers asked for first."""
