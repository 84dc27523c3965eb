"""Transports of bytes to the authority. `authority_client.py` encodes and decodes them."""

from collections.abc import Callable
from typing import Protocol

from rescind.errors import UnreachableError

Handler = Callable[[bytes], None]

Accept = Callable[[bytes], bool]
"""Return True for the authority's answer, and False for one that any client could have sent.

Raises AuthorityBusyError if the authority answered that it cannot answer now.
"""


class AuthorityBusyError(UnreachableError):
    """Raised when an authority was reached and cannot answer now; another route would not help."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the authority cannot answer {subject} now")


class Transport(Protocol):
    """A way to send messages. Both methods raise UnreachableError within their deadline."""

    async def request(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a request, and return the answer, which is not empty.

        With `accept`, return the first answer that it accepts. Other answers are ignored, and so
        are refusals, because the right answer may come after them.
        """
        ...

    async def send(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer."""
        ...


class PushingTransport(Transport, Protocol):
    """A transport over which messages are also pushed."""

    @property
    def connected(self) -> bool:
        """Return True if the other end can be reached now, as far as is known."""
        ...

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Stay connected, and pass on pushed messages, until cancelled."""
        ...
