"""The verifier of a middleware: passed as an argument, or attached at the first call."""

import asyncio
import logging
import threading
from collections.abc import Collection
from typing import Protocol, Self

from rescind.client import clock
from rescind.client.holds.hold import Hold
from rescind.client.verifier import Verifier
from rescind.core.verdict import NOT_JUDGED, Reason, Verdict
from rescind.errors import UnreachableError
from rescind.integrations.asgi_call import Message, Send

_SELDOM_S = 60.0
_log = logging.getLogger("rescind")


class Checking(Protocol):
    """The interface of a Verifier and of the fake in `rescind.testing`."""

    def check(
        self,
        token: str,
        *,
        require: Collection[str] = (),
        audience: str | None = None,
        address: str | None = None,
    ) -> Verdict:
        """Check one token for one call, in a thread."""
        ...

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
        """Check one token from the beginning of a call to its end."""
        ...

    def hold_by_hash(
        self, token_hash: bytes, *, require: Collection[str] = (), audience: str | None = None
    ) -> Hold:
        """Check a token from the beginning of a queued job to its end."""
        ...

    def close(self) -> None:
        """Close the connections of the verifier."""
        ...


class Unready:
    """A log of calls that are answered with 503, at most one line a minute.

    Without this log, only the callers would notice these answers.
    """

    def __init__(self) -> None:
        self._silent_until_s = 0.0

    def note(self, reason: Reason, why: str = "") -> None:
        """Log the reason if the sidecar is its cause: NO_LEASE or UNAVAILABLE."""
        if reason not in NOT_JUDGED:
            return
        now_s = clock.monotonic_s()
        if now_s < self._silent_until_s:
            return
        self._silent_until_s = now_s + _SELDOM_S
        advice = why or "the sidecar holds no lease, or does not answer: see `rescind doctor`"
        _log.warning("calls are refused with 503, %s: %s", reason.value, advice)


class Attachment:
    """A given verifier, or one for the sidecar that the environment names.

    Attaching is repeated at each call until it succeeds.
    """

    def __init__(self, verifier: Checking | None) -> None:
        self._given = verifier
        self._owned: Checking | None = None
        self._attaching = threading.Lock()
        self._failed_s = float("-inf")
        self._unready = Unready()

    @classmethod
    def of(cls, verifier: "Checking | Attachment | None") -> "Self | Attachment":
        """Return an attachment unchanged, or a new one with a verifier."""
        return verifier if isinstance(verifier, Attachment) else cls(verifier)

    async def verifier(self) -> Checking:
        """Return the verifier. Raises UnreachableError."""
        if (verifier := self._find()) is not None:
            return verifier
        # In a thread: a sidecar that hangs must not block the exempt paths.
        return await asyncio.to_thread(self._attach_once, clock.monotonic_s())

    def attach(self) -> Checking:
        """Return the verifier, blocking this thread at the first call. Raises UnreachableError."""
        if (verifier := self._find()) is not None:
            return verifier
        return self._attach_once(clock.monotonic_s())

    def _find(self) -> Checking | None:
        return self._owned if self._given is None else self._given

    def _attach_once(self, called_s: float) -> Checking:
        """Attach, or share the result of an attempt that ended after a call began."""
        with self._attaching:
            if (verifier := self._owned) is not None:
                return verifier
            if self._failed_s >= called_s:
                # Calls that waited for a failed attempt would else wait for one after another.
                raise UnreachableError("the sidecar did not answer another call a moment ago")
            try:
                self._owned = verifier = Verifier.attach()
            except UnreachableError as error:
                self._failed_s = clock.monotonic_s()
                self._unready.note(Reason.UNAVAILABLE, str(error))
                raise
            return verifier

    def note(self, reason: Reason) -> None:
        """Log a denial that the sidecar causes, not the token."""
        self._unready.note(reason)

    def close(self) -> None:
        """Close an attached verifier. A verifier that was passed as an argument stays open."""
        if self._owned is not None:
            self._owned.close()
            self._owned = None

    def closing(self, send: Send) -> Send:
        """Return a `send` that closes an attached verifier when the application has shut down."""

        async def close_then_send(message: Message) -> None:
            if message["type"].startswith("lifespan.shutdown."):
                self.close()
            await send(message)

        return close_then_send
