"""What runs in the workload: ask the sidecar once, then check against its table."""
