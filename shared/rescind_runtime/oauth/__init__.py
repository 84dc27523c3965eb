"""What the OAuth endpoints of the authority and of the sidecar have in common."""
