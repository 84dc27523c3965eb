"""Ports that are free now, for servers that must restart at the same port."""

import socket


def free_port() -> int:
    """Return a free port on loopback. Rarely, another process takes it before it is used."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
