"""OAuth clients: their registry, their authentication, and what they may request."""
