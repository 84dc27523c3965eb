"""What a sidecar knows, pure: one synchronous object with one writer. I/O lives around it."""
