"""HTTP requests and replies as values."""

import json
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import NamedTuple

_CLOSES = b"connection: close\r\n\r\n"
_GOES_ON = b"connection: keep-alive\r\n\r\n"  # HTTP/1.0 requires the header
NO_STORE = b"cache-control: no-store\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


# Named tuples, because each call makes them: a frozen dataclass takes three times as long.
class HttpRequest(NamedTuple):
    """An HTTP request. `path` is never decoded: routing compares it as it was sent."""

    method: str
    path: str
    query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes = b""


class HttpResponse(NamedTuple):
    """An HTTP response. `head` contains whole header lines, as `lines` returns them.

    `encode` adds `content-length` and `connection`.
    """

    status: int
    head: bytes
    body: bytes = b""


def lines(headers: Iterable[tuple[str, str]]) -> bytes:
    """Return headers as lines. All texts must consist of visible ASCII and spaces."""
    return "".join([f"{name}: {text}\r\n" for name, text in headers]).encode("ascii")


def document(status: int, content: object, *, media_type: str = "application/json") -> HttpResponse:
    """Return an answer in JSON that no cache may store."""
    head = NO_STORE + lines([("content-type", media_type)])
    return HttpResponse(status, head, json.dumps(content).encode())


def problem(status: int, slug: str, title: str, detail: str, **more: object) -> HttpResponse:
    """Return a response with a problem (RFC 9457)."""
    content = {
        "type": f"urn:rescind:problem:{slug}",
        "title": title,
        "status": status,
        "detail": detail,
        **more,
    }
    return document(status, content, media_type="application/problem+json")


NOT_FOUND = problem(
    404,
    "not-found",
    "Nothing is here",
    "Ask /verify, /introspect, /v1/check, /healthz, /readyz or /metrics.",
)


def allowing(methods: str) -> HttpResponse:
    """Return the refusal of a method, with the methods that can be used."""
    reply = problem(405, "wrong-method", "The method cannot be used here", f"Use {methods}.")
    return HttpResponse(reply.status, reply.head + lines([("allow", methods)]), reply.body)


def encode(reply: HttpResponse, *, head_only: bool, last: bool) -> bytes:
    """Return a reply as bytes. `head_only` omits the body, and `last` closes the connection."""
    status, head, body = reply
    return b"%b%bcontent-length: %d\r\n%b%b" % (
        _STATUS_LINES[status],
        head,
        len(body),
        _CLOSES if last else _GOES_ON,
        b"" if head_only else body,
    )
