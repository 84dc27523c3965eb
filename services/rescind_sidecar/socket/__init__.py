"""The unix socket of the workloads."""
