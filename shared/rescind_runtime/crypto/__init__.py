"""Sign, encrypt, and decide whose signature counts."""
