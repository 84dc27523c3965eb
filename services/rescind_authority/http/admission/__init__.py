"""Bound what a request may cost before its caller is known."""
