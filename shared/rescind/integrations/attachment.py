"""What every middleware needs: a verifier, attached at the first call, and a way to refuse."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, Protocol

from rescind.client.verifier import Verifier
from rescind.core.verdict import Verdict
from rescind.integrations.bearer import Refusal

POLICY_VIOLATION = 1008  # RFC 6455 §7.4.1

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


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


class Attachment:
    """Attach to the sidecar that the environment names, as often as that fails."""

    def __init__(self, verifier: Checking | None) -> None:
        self._given = verifier
        self._owned: Checking | None = None
        self._attaching = asyncio.Lock()

    async def verifier(self) -> Checking:
        """Give the verifier. Raises UnreachableError."""
        if self._given is not None:
            return self._given
        async with self._attaching:
            if self._owned is None:
                # In a thread: a sidecar that hangs must not hang the exempt paths too.
                self._owned = await asyncio.to_thread(Verifier.attach)
            return self._owned

    def closing(self, send: Send) -> Send:
        """Close the verifier when the application has shut down, if it is ours."""

        async def close_then_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown.") and self._owned is not None:
                self._owned.close()
                self._owned = None
            await send(message)

        return close_then_send


async def answer(refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse an HTTP request, or a websocket before it is accepted."""
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
