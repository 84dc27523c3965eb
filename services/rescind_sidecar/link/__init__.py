"""The transports to the authority."""
