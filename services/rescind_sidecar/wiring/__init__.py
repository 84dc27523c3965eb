"""Build the sidecar from its parts: the one place that knows every adapter."""
