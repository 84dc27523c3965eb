"""The look-ups of workloads, and their limits."""
