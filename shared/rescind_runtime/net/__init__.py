"""Connections to servers, and an HTTP server."""
