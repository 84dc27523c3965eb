"""Build the authority from its parts: the one place that knows every adapter."""
