"""The OAuth endpoints, and the registry of their clients."""
