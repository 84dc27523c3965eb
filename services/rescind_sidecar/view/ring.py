"""The most recent events, by position and by anchor.

The ring shows whether an event has hit a record since the record's position. This closes the race
in which a slow fill resurrects a revoked token (design 6.4). The search by anchor is O(handles);
scanning 65,536 events would stall the event loop.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from rescind.core.handles import Handle, Selector
from rescind.core.ledger import Position

CAPACITY = 65_536


@dataclass(slots=True)
class _Entry:
    """An event, linked to the previous and the next event with the same anchor."""

    seq: int
    head: bytes
    selector: Selector
    anchor: Handle
    earlier: "_Entry | None"
    later: "_Entry | None" = None


class Ring:
    """The events in (floor, top], and the head at the floor."""

    def __init__(self, start: Position, *, capacity: int = CAPACITY) -> None:
        self.floor = start.seq
        self._top = start.seq
        self._floor_head = start.head
        self._capacity = capacity
        self._events: deque[_Entry] = deque()
        self._latest: dict[Handle, _Entry] = {}

    def append(self, selector: Selector, position: Position) -> None:
        """Store the event that led to this position; when full, drop the oldest."""
        anchor = selector.anchor
        earlier = self._latest.get(anchor)
        entry = _Entry(position.seq, position.head, selector, anchor, earlier)
        if earlier is not None:
            earlier.later = entry
        self._latest[anchor] = entry
        self._events.append(entry)
        self._top = position.seq
        if len(self._events) > self._capacity:
            self._forget()

    def _forget(self) -> None:
        oldest = self._events.popleft()
        self.floor, self._floor_head = oldest.seq, oldest.head
        if oldest.later is None:
            del self._latest[oldest.anchor]
        else:
            oldest.later.earlier = None

    def head_at(self, seq: int) -> bytes | None:
        """Return the head at a position, or None outside the ring."""
        if seq == self.floor:
            return self._floor_head
        if not self.floor < seq <= self._top:
            return None
        # The index counts from the end, where a deque is fast: leases have recent positions.
        return self._events[seq - self._top - 1].head

    def hit_since(self, handles: Collection[Handle], seq: int) -> bool:
        """Return True if an event after `seq` matches, or if `seq` is below the floor."""
        if seq < self.floor:
            return True
        for handle in handles:
            entry = self._latest.get(handle)
            while entry is not None and entry.seq > seq:
                if entry.selector.matches(handles):
                    return True
                entry = entry.earlier
        return False
