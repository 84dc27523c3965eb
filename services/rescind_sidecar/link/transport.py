"""Ways for bytes to reach the authority. What the bytes mean is `spoken.py`'s business."""

from collections.abc import Callable
from typing import Protocol

from rescind.errors import UnreachableError

Handler = Callable[[bytes], None]


class NotNowError(UnreachableError):
    """Say that an authority was reached, and cannot answer now: another way leads to the same."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"the authority cannot answer {subject} now")


class Transport(Protocol):
    """Carry messages. Both methods raise UnreachableError within their deadline."""

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Send a message and give the answer, which is not empty."""
        ...

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers."""
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
