"""Ports that are free now, for servers that must restart at the same port."""

import random
import socket

_FIRST, _END = 15_000, 32_000
"""Below the ports that Linux gives to connections: no client takes one between two starts."""

_RANDOM = random.SystemRandom()  # two workers must not draw the same ports


def free_port() -> int:
    """Return a free port on loopback. Rarely, another process takes it before it is used."""
    while True:
        port = _RANDOM.randrange(_FIRST, _END)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
