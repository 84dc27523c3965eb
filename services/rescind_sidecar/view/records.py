"""The records that a sidecar holds: bounded, the least recently used go first."""

from collections import OrderedDict
from dataclasses import dataclass

from rescind.core.record import Record

CAPACITY = 100_000
"""Some 2.5 KB each: 250 MB when full. A token beyond is looked up again, no more."""

_AGAIN_NS = 60 * 10**9


@dataclass(frozen=True, slots=True)
class Window:
    """When a record may be accepted, in CLOCK_BOOTTIME nanoseconds; after `until_ns`, ask again."""

    not_before_ns: int
    until_ns: int


@dataclass(slots=True)
class Held:
    """A record as it came, and the position up to which no event is known to hit it.

    `window` is what its times came to when they were last judged, at most five minutes ago;
    `ended_ns` is when they were first found to be over, where they were so when it came.
    """

    record: Record
    payload: bytes
    slots: tuple[int, ...]
    good_at: int
    window: Window | None = None
    ended_ns: int | None = None

    def told(self, now_ns: int) -> bool:
        """Say whether the authority knows that somebody comes with this token, which has ended.

        It may be a secret that was rotated away, in hands that should not have it: the authority
        hears of it when it ends, and from then on once a minute while it comes.
        """
        if self.window is not None:
            return False
        if self.ended_ns is None:
            self.ended_ns = now_ns
        return now_ns - self.ended_ns < _AGAIN_NS


class Records:
    """Hold records by the SHA-256 of their token."""

    def __init__(self, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held: OrderedDict[bytes, Held] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, token_hash: bytes) -> bool:
        return token_hash in self._held

    def get(self, token_hash: bytes) -> Held | None:
        """Find a record, and count that as use."""
        held = self._held.get(token_hash)
        if held is not None:
            self._held.move_to_end(token_hash)
        return held

    def put(self, held: Held) -> None:
        """Keep a record, and drop the least recently used one when full."""
        self._held[held.record.token_hash] = held
        self._held.move_to_end(held.record.token_hash)
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)

    def drop(self, token_hash: bytes) -> None:
        """Forget a record."""
        self._held.pop(token_hash, None)
