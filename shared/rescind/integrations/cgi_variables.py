"""The variables of a request as CGI names them, which WSGI and Django have (PEP 3333)."""

import socket
from collections.abc import Mapping
from typing import Any

Variables = Mapping[str, Any]

_SOCKETS = ("gunicorn.socket", "werkzeug.socket")


def headers_of(variables: Variables) -> list[tuple[bytes, bytes]]:
    """Return the `Authorization` headers of a request.

    Servers join repeated headers with commas, which no token contains.
    """
    text: str = variables.get("HTTP_AUTHORIZATION", "")
    parts = text.encode("latin-1", "replace").split(b",") if text else []
    return [(b"authorization", part.strip()) for part in parts]


def address_of(variables: Variables) -> str | None:
    """Return the caller's address as the server reports it, or None."""
    return variables.get("REMOTE_ADDR") or None


def is_preflight(variables: Variables) -> bool:
    """Return True for a CORS preflight, which a browser sends without a token (Fetch, 3.3)."""
    return (
        variables.get("REQUEST_METHOD") == "OPTIONS"
        and "HTTP_AUTHORIZATION" not in variables
        and "HTTP_ORIGIN" in variables
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in variables
    )


def connection_of(variables: Variables) -> socket.socket | None:
    """Return the socket of a request if the server shows it, and the request alone uses it."""
    if not str(variables.get("SERVER_PROTOCOL", "")).startswith("HTTP/1"):
        return None  # the streams of other requests share the connection
    found = (variables.get(name) for name in _SOCKETS)
    return next((each for each in found if isinstance(each, socket.socket)), None)
