"""Listening sockets at `host:port`, and their URLs if the system chose the port."""

import socket
from ipaddress import ip_address
from urllib.parse import urlsplit

from rescind.errors import RescindError

_BACKLOG = 1024


class AddressError(RescindError):
    """Raised for an address that cannot be listened at; the text names its setting."""


def bind(address: str, *, setting: str = "RESCIND_HTTP") -> socket.socket:
    """Return a socket that listens at `host:port` (port 0: any). Raises AddressError.

    `setting` is the variable that the address is from.
    """
    host, colon, port = address.rpartition(":")
    host = host.strip("[]")
    if not colon or not port.isdecimal():
        raise AddressError(f"{setting} is {address!r}: expected host:port, 127.0.0.1:7473 say")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio sends small answers at once only on a socket that is
    # declared as TCP. Otherwise each answer waits 40 ms for the acknowledgement of its head.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, int(port)))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise AddressError(
            f"cannot listen at {address}: {error}. Another process may have the port: "
            f"choose another with {setting}, or port 0 for any"
        ) from error
    return bound


def url(bound: socket.socket, *, secured: bool = False) -> str:
    """Return the URL of a listening socket; `secured` means that it serves HTTPS."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if secured else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def everywhere(url: str) -> bool:
    """Return True if a URL stands for all addresses of this machine."""
    return ip_address(urlsplit(url).hostname or "").is_unspecified
