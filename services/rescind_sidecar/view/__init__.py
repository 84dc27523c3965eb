"""The state of a sidecar: one synchronous object with one writer, which does no I/O."""
