"""What a worker says for its sidecar: it asks, over a unix socket that has no file."""

import asyncio
import socket

from rescind_sidecar.http.messages import NO_STORE, HttpRequest, HttpResponse, lines, problem

DEADLINE_S = 2.0
_LONGEST_BYTES = 1 << 24

_SILENT = problem(
    503, "sidecar-silent", "The sidecar does not answer", "Its process hangs or is ending."
)


class Relay:
    """Pass a request for the operators' endpoints on, and its reply back."""

    def __init__(self, address: bytes) -> None:
        self._address = address

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        """Forward to the sidecar for two seconds: one that hangs is not ready, and not alive."""
        try:
            async with asyncio.timeout(DEADLINE_S):
                return _parsed(await self._exchange(request))
        except (OSError, ValueError):
            return _SILENT

    async def _exchange(self, request: HttpRequest) -> bytes:
        asked = f"{request.method} {request.path} HTTP/1.1\r\nconnection: close\r\n\r\n"
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        line.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(line, self._address)
            reader, writer = await asyncio.open_unix_connection(sock=line, limit=_LONGEST_BYTES)
        except OSError:
            line.close()
            raise
        try:
            writer.write(asked.encode("latin-1"))
            return await reader.read(-1)
        finally:
            writer.close()


def _parsed(answer: bytes) -> HttpResponse:
    """Read what `messages.encode` wrote. Raises ValueError."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *headers = head.decode("ascii").split("\r\n")
    named = dict(line.split(": ", 1) for line in headers)
    kept = [(name, named[name]) for name in ("content-type", "allow") if name in named]
    return HttpResponse(int(status.split(" ")[1]), NO_STORE + lines(kept), body)
