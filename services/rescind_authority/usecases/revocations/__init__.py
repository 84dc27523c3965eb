"""Revoke, suspend, narrow and lift; preview commands and count the tokens that they hit."""
