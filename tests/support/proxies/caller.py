"""A caller of a proxy: exactly the path and the headers that the test wrote are sent."""

import http.client
import uuid
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TypedDict, Unpack

from tests.support.outcomes import timely
from tests.support.proxies.service import CALL, Reached, Service

_DEADLINE_S = 20.0
_CHUNK = 8192

Headers = Iterable[tuple[str, str]]


class RequestParts(TypedDict, total=False):
    """What a request has besides its path and its token, as `begin` takes it."""

    headers: Headers
    method: str
    body: bytes
    chunked: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a call, and what reached the service, if anything did."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    reached: Reached | None

    def header(self, name: str) -> str | None:
        """Return the only value of a header, or None."""
        found = [text for each, text in self.headers if each == name]
        assert len(found) < 2, f"{name} came twice"
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of the proxy at a port.

    A busy machine can be too slow for the deadlines of a proxy: without `faults`, a 503 of the
    sidecar raises LateError.
    """

    port: int
    service: Service
    faults: bool = False

    def call(self, path: str, token: str | None = None, **parts: Unpack[RequestParts]) -> Answer:
        """Send one request on a new connection, and return the answer."""
        with self.connected() as connection:
            return self.send(connection, path, token, **parts)

    @contextmanager
    def connected(self, *, deadline_s: float = _DEADLINE_S) -> Iterator[http.client.HTTPConnection]:
        """Connect to the proxy for several requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=deadline_s)
        with closing(connection):
            yield connection

    def send(
        self,
        connection: http.client.HTTPConnection,
        path: str,
        token: str | None = None,
        **parts: Unpack[RequestParts],
    ) -> Answer:
        """Send one request on an open connection, and read the whole answer."""
        name = begin(connection, path, token, **parts)
        answer = connection.getresponse()
        content = answer.read()
        told = tuple((each.lower(), text) for each, text in answer.getheaders())
        unavailable = answer.status == 503 and answer.getheader("x-rescind-reason") is not None
        timely(self.faults or not unavailable, "an answer of the sidecar")
        return Answer(answer.status, told, content, self.service.calls.get(name))


def begin(
    connection: http.client.HTTPConnection,
    path: str,
    token: str | None = None,
    *,
    headers: Headers = (),
    method: str = "GET",
    body: bytes = b"",
    chunked: bool = False,
) -> str:
    """Send a request without reading the answer; return the name of the call."""
    name = uuid.uuid4().hex
    connection.putrequest(method, path, skip_accept_encoding=True)
    connection.putheader(CALL, name)
    if token is not None:
        connection.putheader("Authorization", f"Bearer {token}")
    for each, text in headers:
        connection.putheader(each, text)
    # A proxy may refuse the call, and close the connection, before it has read the body.
    with suppress(BrokenPipeError, ConnectionResetError):
        if chunked:
            connection.putheader("Transfer-Encoding", "chunked")
            pieces = (body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK))
            connection.endheaders(pieces, encode_chunked=True)
        else:
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
    return name
