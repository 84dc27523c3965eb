"""Enrol, and keep the lease."""
