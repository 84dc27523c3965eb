"""Key files: read, written, and reloaded while the authority runs."""
