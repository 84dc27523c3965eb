"""The state of one ASGI call, which decides how the call can be refused or cut short."""

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from rescind.client.holds.hold import Hold
from rescind.errors import DeniedError
from rescind.wire.bearer import Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1
TRY_AGAIN_LATER = 1013  # IANA, WebSocket close codes

_UNAVAILABLE = 503
_RESPONSE = ("http.response", "websocket.http.response")
_BEGINNINGS = {"websocket.accept", *(f"{kind}.start" for kind in _RESPONSE)}
_PARTS = {"http.response.zerocopysend", *(f"{kind}.body" for kind in _RESPONSE)}
_ENDS = {"websocket.close", "http.response.pathsend"}


def address_of(scope: Scope) -> str | None:
    """Return the caller's address as the server reports it, or None."""
    client = scope.get("client")
    return client[0] if client else None


class AsgiCall:
    """One call, with the state that its messages between server and application show."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._connected = False
        self._begun = False
        self._over = False

    async def receive(self) -> Message:
        """Pass a message to the application."""
        message = await self._receive()
        if message["type"] == "websocket.connect":
            self._connected = True
        elif message["type"] == "websocket.disconnect":
            self._over = True
        return message

    def sending(self, holding: Hold) -> Send:
        """Return a callable that passes messages to the server while the token is valid."""

        async def send(message: Message) -> None:
            if holding.reason is not None:
                # The cancellation is on its way. The caller must not see what the clean-up sends.
                raise DeniedError(holding.reason)
            self._note(message)
            await self._send(message)

        return send

    def _note(self, message: Message) -> None:
        """Record a message before it is sent: a cancelled send may still have gone out."""
        kind = message["type"]
        if kind in _BEGINNINGS:
            self._begun = True
        elif kind in _PARTS:
            self._over = not message.get("more_body", False)
        elif kind in _ENDS:
            self._over = True

    async def refuse(self, refusal: Refusal) -> None:
        """Send the refusal in place of the application's response, which must not have begun."""
        kind = "http.response"
        if self._scope["type"] == "websocket":
            if not self._connected:
                await self._receive()  # websocket.connect
            if "websocket.http.response" not in self._scope.get("extensions", {}):
                await self._close(POLICY_VIOLATION, refusal)
                return
            kind = "websocket.http.response"
        headers = [(name.encode(), value.encode()) for name, value in refusal.headers]
        await self._send({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
        await self._send({"type": f"{kind}.body", "body": refusal.body})

    async def cut(self, refusal: Refusal) -> None:
        """End the call in its present state.

        A response that has begun gets no end. When an application returns without one, the server
        breaks the connection off, so that no client mistakes the part for the whole. An exception
        would have the same effect, but the server and each layer in between would log a traceback.
        """
        if self._over:
            return
        if not self._begun:
            await self.refuse(refusal)
        elif self._scope["type"] == "websocket":
            stale = refusal.status == _UNAVAILABLE
            await self._close(TRY_AGAIN_LATER if stale else POLICY_VIOLATION, refusal)

    async def _close(self, code: int, refusal: Refusal) -> None:
        with suppress(OSError):  # the client has disconnected meanwhile
            await self._send({"type": "websocket.close", "code": code, "reason": refusal.reason})
