"""Limits on the cost of a request before its caller is known."""
