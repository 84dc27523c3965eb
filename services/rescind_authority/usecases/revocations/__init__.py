"""Revoke, suspend, narrow and lift; preview a command and count what it hit."""
