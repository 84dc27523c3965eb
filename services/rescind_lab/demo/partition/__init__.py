"""The partition: one sidecar is cut off from every authority while a token is revoked."""
