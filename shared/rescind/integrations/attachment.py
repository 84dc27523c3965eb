"""A verifier for a middleware: the one that was given, or one attached at the first call."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from rescind.client.holding import Holding
from rescind.client.verifier import Verifier
from rescind.core.verdict import Verdict
from rescind.integrations.asgi_call import Message, Send


class Checking(Protocol):
    """Judge tokens: a Verifier, or the fake of `rescind.testing`."""

    async def acheck(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Verdict:
        """Judge one token for one call."""
        ...

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Holding:
        """Judge one token from a call's beginning to its end."""
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
