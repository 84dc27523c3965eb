"""What happens around every request: it is counted, and it is bounded."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rescind_authority.http import problems
from rescind_authority.metrics import Metrics

MAX_BODY_BYTES = 256 * 1024
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
    """Refuse bodies over the limit, said or sent."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._said(scope) > self._limit:
            await problems.too_large(self._limit)(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _said(self, scope: Scope) -> int:
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return max((int(each) for each in lengths if each.isdigit()), default=0)

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                # Chunked, and over the limit: to the application the caller hung up.
                return {"type": "http.disconnect"}
            return message

        return counting
