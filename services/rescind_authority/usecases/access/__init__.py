"""Authorise callers, limit their changes, and audit refusals."""
