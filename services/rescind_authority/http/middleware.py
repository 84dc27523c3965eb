"""What happens around every request: it is counted, and it is bounded."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rescind_authority.http import problems
from rescind_authority.metrics import Metrics

MAX_BODY_BYTES = 1024 * 1024  # a thousand commands
_NOT_FOUND = "none"


class Counted:
    """Count requests by method, route and status. The route is a template: no name gets in."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                route = getattr(scope.get("route"), "path", _NOT_FOUND)
                self._metrics.request(method=scope["method"], route=route, status=message["status"])
            await send(message)

        await self._app(scope, receive, counting)


class Bounded:
    """Read each body whole before anybody parses it, and refuse one over the limit."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return  # nobody is left to answer
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                await problems.too_large(self._limit)(scope, receive, send)
                return
        await self._app(scope, _first(bytes(body), receive), send)


def _first(body: bytes, receive: Receive) -> Receive:
    """Give the body as one message, and then whatever comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
