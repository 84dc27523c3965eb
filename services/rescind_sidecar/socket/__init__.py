"""The Unix socket that workloads connect to."""
