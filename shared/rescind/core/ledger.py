"""The ledger's hash chain: `head(n) = SHA-256(head(n-1) ‖ payload(n))`, `head(0) = SHA-256(epoch)`.

The payload is the exact bytes stored and sent, seq and epoch included; the epoch in `head(0)` is
8 bytes, big-endian.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

HEAD_BYTES = 32


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the ledger, and the hash of everything up to it."""

    epoch: int
    seq: int
    head: bytes

    def after(self, payload: bytes) -> "Position":
        """Return the position after one more event."""
        return Position(self.epoch, self.seq + 1, extend(self.head, payload))


def genesis(epoch: int) -> Position:
    """Return the position at which a new ledger begins."""
    return Position(epoch, 0, hashlib.sha256(epoch.to_bytes(8)).digest())


def begin_epoch(position: Position, *, epoch: int) -> Position:
    """Return the first position of an epoch that continues an earlier one.

    The epoch is part of the hash chain: two restores of one backup differ from the start.
    """
    return Position(epoch, position.seq, extend(position.head, epoch.to_bytes(8)))


def extend(head: bytes, payload: bytes) -> bytes:
    """Return the head after one more event."""
    return hashlib.sha256(head + payload).digest()


def replay(start: Position, payloads: Iterable[bytes]) -> Position:
    """Return the position after several consecutive events."""
    for payload in payloads:
        start = start.after(payload)
    return start
