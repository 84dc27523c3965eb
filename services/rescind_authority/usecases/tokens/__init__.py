"""Issue, delegate, rotate and expire tokens."""
