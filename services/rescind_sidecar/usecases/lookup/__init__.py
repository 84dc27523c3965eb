"""Answer the look-ups of workloads within their limits."""
