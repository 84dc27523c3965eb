"""Ports that nobody uses now, for servers that must come back at the same one."""

import socket


def free_port() -> int:
    """Pick a port on loopback. Another process may take it before it is used: rarely."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
