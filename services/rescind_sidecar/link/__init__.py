"""The ways to the authority."""
