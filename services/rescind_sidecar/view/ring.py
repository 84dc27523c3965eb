"""The most recent events, by position and by anchor.

It answers whether a record as of an older position was hit since, which closes the race in which
a slow fill resurrects a revoked token (design 6.4). Looking up by anchor keeps that O(handles):
scanning 65,536 events would stall the loop.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position

CAPACITY = 65_536


@dataclass(frozen=True, slots=True)
class _Seen:
    seq: int
    head: bytes
    selector: Selector
    anchor: Handle


class Ring:
    """Events in (floor, top]. Of anything at or below the floor it only knows the floor's head."""

    def __init__(self, start: Position, *, capacity: int = CAPACITY) -> None:
        self.floor = start.seq
        self._top = start.seq
        self._floor_head = start.head
        self._capacity = capacity
        self._events: deque[_Seen] = deque()
        self._by_anchor: dict[Handle, deque[_Seen]] = {}

    def append(self, selector: Selector, position: Position) -> None:
        """Remember the event that led to this position, and forget the oldest when full."""
        seen = _Seen(position.seq, position.head, selector, selector.anchor)
        self._top = position.seq
        self._events.append(seen)
        self._by_anchor.setdefault(seen.anchor, deque()).append(seen)
        if len(self._events) > self._capacity:
            self._forget()

    def _forget(self) -> None:
        oldest = self._events.popleft()
        self.floor, self._floor_head = oldest.seq, oldest.head
        same_anchor = self._by_anchor[oldest.anchor]
        same_anchor.popleft()
        if not same_anchor:
            del self._by_anchor[oldest.anchor]

    def head_at(self, seq: int) -> bytes | None:
        """Give the head at a position, or None where the ring does not reach."""
        if seq == self.floor:
            return self._floor_head
        if not self.floor < seq <= self._top:
            return None
        # Counted from the nearer end, which is where the deque is quick: leases are recent.
        return self._events[seq - self._top - 1].head

    def hit_since(self, handles: Collection[Handle], seq: int) -> bool:
        """Say whether an event after `seq` matches. True also where the ring does not reach."""
        if seq < self.floor:
            return True
        for handle in handles:
            for seen in reversed(self._by_anchor.get(handle, ())):
                if seen.seq <= seq:
                    break
                if seen.selector.matches(handles):
                    return True
        return False
