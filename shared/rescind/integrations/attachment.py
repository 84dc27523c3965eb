"""A verifier for a middleware: the one that was given, or one attached at the first call."""

import asyncio
import logging
from collections.abc import Collection
from typing import Protocol

from rescind.client import clock
from rescind.client.holds.hold import Hold
from rescind.client.verifier import Verifier
from rescind.core.verdict import Reason, Verdict
from rescind.errors import UnreachableError
from rescind.integrations.asgi_call import Message, Send

_SELDOM_S = 60.0
_log = logging.getLogger("rescind")


class Checking(Protocol):
    """What checks tokens: a Verifier, or the fake of `rescind.testing`."""

    async def acheck(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Verdict:
        """Check one token for one call."""
        ...

    def hold(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Hold:
        """Check one token from a call's beginning to its end."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


class Unready:
    """Log that calls are answered with 503, at most once a minute: else only callers see it."""

    def __init__(self) -> None:
        self._silent_until_s = 0.0

    def note(self, reason: Reason, why: str = "") -> None:
        """Log the reason, if it is one of those that say nothing about the token."""
        if reason not in {Reason.NO_LEASE, Reason.UNAVAILABLE}:
            return
        now_s = clock.monotonic_s()
        if now_s < self._silent_until_s:
            return
        self._silent_until_s = now_s + _SELDOM_S
        advice = why or "the sidecar holds no lease, or does not answer: see `rescind doctor`"
        _log.warning("calls are refused with 503, %s: %s", reason.value, advice)


class Attachment:
    """Attach to the sidecar that the environment names, as often as that fails."""

    def __init__(self, verifier: Checking | None) -> None:
        self._given = verifier
        self._owned: Checking | None = None
        self._attaching = asyncio.Lock()
        self._unready = Unready()

    async def verifier(self) -> Checking:
        """Return the verifier. Raises UnreachableError."""
        if self._given is not None:
            return self._given
        async with self._attaching:
            if self._owned is None:
                # In a thread: a sidecar that hangs must not hang the exempt paths too.
                try:
                    self._owned = await asyncio.to_thread(Verifier.attach)
                except UnreachableError as error:
                    self._unready.note(Reason.UNAVAILABLE, str(error))
                    raise
            return self._owned

    def note(self, reason: Reason) -> None:
        """Log a denial for which the sidecar is the cause, and not the token."""
        self._unready.note(reason)

    def closing(self, send: Send) -> Send:
        """Close the verifier when the application has shut down, if it is ours."""

        async def close_then_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown.") and self._owned is not None:
                self._owned.close()
                self._owned = None
            await send(message)

        return close_then_send
