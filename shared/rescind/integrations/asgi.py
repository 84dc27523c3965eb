"""Middleware for any ASGI application: no call reaches it without a good token.

    app = RescindMiddleware(app, require={"search:read"})

The record of the token is then `scope["state"]["rescind"]` (Starlette and FastAPI:
`request.state.rescind`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Protocol

from rescind.client.verifier import Verifier
from rescind.core.verdict import Allowed, Denied, Reason, Verdict
from rescind.errors import UnreachableError
from rescind.integrations import bearer
from rescind.integrations.bearer import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1


class Checking(Protocol):
    """Judge tokens: a Verifier, or the fake of `rescind.testing`."""

    async def acheck(
        self, token: str, *, require: Collection[str] = (), audience: str | None = None
    ) -> Verdict:
        """Judge one token for one call."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class RescindMiddleware:
    """Let through calls whose bearer token is good now, for these scopes and this audience.

    Without `verifier` it attaches to the sidecar that the environment names, at the first call and
    again for as long as that fails, and closes it at shutdown. `audience` None means the sidecar's
    service. Paths in `exempt` match exactly and need no token.
    """

    def __init__(
        self,
        app: App,
        verifier: Checking | None = None,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        exempt: Collection[str] = ("/healthz",),
    ) -> None:
        self._app = app
        self._verifier = verifier
        self._owned: Checking | None = None
        self._require = frozenset(require)
        self._audience = audience
        self._exempt = frozenset(exempt)
        self._attaching = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, self._closing(send))
        elif scope["path"] in self._exempt:
            await self._app(scope, receive, send)
        else:
            match await self._judge(scope):
                case Allowed(record):
                    state = {**scope.get("state", {}), "rescind": record}
                    await self._app({**scope, "state": state}, receive, send)
                case Refusal() as refusal:
                    await _refuse(refusal, scope, receive, send)

    async def _judge(self, scope: Scope) -> Allowed | Refusal:
        token = bearer.find(scope["headers"])
        if token is None:
            return bearer.unauthenticated()
        try:
            verifier = self._verifier or await self._attach()
        except UnreachableError:
            return bearer.refuse(Reason.UNAVAILABLE)
        verdict = await verifier.acheck(token, require=self._require, audience=self._audience)
        match verdict:
            case Allowed():
                return verdict
            case Denied(reason):
                return bearer.refuse(reason, require=self._require)

    async def _attach(self) -> Checking:
        async with self._attaching:
            if self._owned is None:
                # In a thread: a sidecar that hangs must not hang the exempt paths too.
                self._owned = await asyncio.to_thread(Verifier.attach)
            return self._owned

    def _closing(self, send: Send) -> Send:
        async def close_then_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown.") and self._owned is not None:
                self._owned.close()
                self._owned = None
            await send(message)

        return close_then_send


async def _refuse(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    kind = "http.response"
    if scope["type"] == "websocket":
        await receive()  # websocket.connect
        if "websocket.http.response" not in scope.get("extensions", {}):
            reason = dict(refusal.headers)["x-rescind-reason"]
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})
            return
        kind = "websocket.http.response"
    headers = [(name.encode(), value.encode()) for name, value in refusal.headers]
    await send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
    await send({"type": f"{kind}.body", "body": refusal.body})
