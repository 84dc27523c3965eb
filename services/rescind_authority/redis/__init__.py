"""Records for whichever sidecar asks next."""
