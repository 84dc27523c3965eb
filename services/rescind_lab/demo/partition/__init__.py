"""`rescind demo partition`: one sidecar is cut off from all servers while a token is revoked."""
