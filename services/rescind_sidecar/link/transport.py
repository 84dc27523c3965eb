"""Carry bytes to the authority. `authority_client.py` knows what they mean."""

from collections.abc import Callable
from typing import Protocol

from rescind.errors import UnreachableError

Handler = Callable[[bytes], None]

Accept = Callable[[bytes], bool]
"""Return True for the authority's answer, and False for one that every client could have sent.

Raises NotNowError where the authority's answer is that it cannot answer now.
"""


class AuthorityBusyError(UnreachableError):
    """Raised when an authority was reached and cannot answer now; another route would not help."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the authority cannot answer {subject} now")


class Transport(Protocol):
    """Carry messages. Both methods raise UnreachableError within their deadline."""

    async def ask(
        self, subject: str, payload: bytes, *, timeout_s: float, accept: Accept | None = None
    ) -> bytes:
        """Send a message and return the answer, which is not empty.

        With `accept`, it is the first answer that this accepts. Others are passed over, and so are
        refusals, because the right answer may come after them.
        """
        ...

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that has no answer."""
        ...


class PushingTransport(Transport, Protocol):
    """Carry messages both ways."""

    @property
    def connected(self) -> bool:
        """Whether the other end can be reached now, as far as is known."""
        ...

    async def run(
        self, *, on_events: Handler, on_wanted: Handler, on_connected: Callable[[], None]
    ) -> None:
        """Keep connected, and hand on what is pushed, until cancelled."""
        ...
