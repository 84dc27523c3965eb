"""The relay from a worker to the operator's endpoints of its sidecar.

The two are connected by a Unix socket without a file.
"""

import asyncio
import socket

from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse, lines, problem

DEADLINE_S = 2.0
_MAX_BYTES = 1 << 24

_SILENT = problem(
    503, "sidecar-silent", "The sidecar does not answer", "Its process hangs or is ending."
)


class Relay:
    """Forward requests to the operator's endpoints, and return the replies."""

    def __init__(self, address: bytes) -> None:
        self._address = address

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Forward a request to the sidecar; answer 503 without a reply in two seconds.

        A sidecar that hangs is neither ready nor alive.
        """
        try:
            async with asyncio.timeout(DEADLINE_S):
                return _parse(await self._exchange(request))
        except (OSError, ValueError):
            return _SILENT

    async def _exchange(self, request: HttpRequest) -> bytes:
        head = f"{request.method} {request.path} HTTP/1.1\r\nconnection: close\r\n\r\n"
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, self._address)
            reader, writer = await asyncio.open_unix_connection(sock=connection, limit=_MAX_BYTES)
        except OSError:
            connection.close()
            raise
        try:
            writer.write(head.encode("latin-1"))
            return await reader.read(-1)
        finally:
            writer.close()


def _parse(answer: bytes) -> HttpResponse:
    """Parse a reply that `messages.encode` wrote. Raises ValueError."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode("ascii").split("\r\n")
    values = dict(line.split(": ", 1) for line in headers)
    selected = [(name, values[name]) for name in ("content-type", "allow") if name in values]
    return HttpResponse(int(status.split(" ")[1]), NO_STORE + lines(selected), body)
