"""Count and time what a sidecar does, for its metrics."""
