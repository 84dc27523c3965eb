"""Ways for bytes to reach the authority. What the bytes mean is `spoken.py`'s business."""

from typing import Protocol


class Transport(Protocol):
    """Carry messages. Both methods raise UnreachableError within their deadline."""

    async def ask(self, subject: str, payload: bytes, *, timeout_s: float) -> bytes:
        """Send a message and give the answer, which is not empty."""
        ...

    async def tell(self, subject: str, payload: bytes) -> None:
        """Send a message that nobody answers."""
        ...
