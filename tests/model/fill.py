"""A record on its way to a sidecar, while the ledger moves on (design 6.1, 6.3 and 6.4).

Four events, of which the second hits the token. They come as late as they like, or never, and so
does the record; the ring remembers two of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

EVENTS = 4
HIT = 2
RING = 2


class Broken(StrEnum):
    """A rule of the design, switched off."""

    UNTESTED = "a record is stored without being held against the ring"
    NO_FLOOR = "the ring says no where it does not reach: no floor test"
    BEFORE_LEASE = "a record is stored before the first lease"
    JUMP = "applied jumps over a gap"
    KEPT = "what memory holds is not held against the events that came since"
    EARLY_AS_OF = "as_of is read after the restrictions, not in their snapshot"


class Read(NamedTuple):
    """A record as some authority read it; `as_of` is None until that is read too."""

    live: bool
    as_of: int | None = None


class ThreadHold(NamedTuple):
    """A record in memory: no event up to `valid_at` is known to hit it."""

    live: bool
    valid_at: int


class State(NamedTuple):
    """The ledger's end, what the sidecar knows of it, and the records on their way."""

    seq: int = 0
    first: int | None = None
    floor: int = 0
    applied: int | None = None
    missed: bool = False
    reads: frozenset[Read] = frozenset()
    read: int = 0
    held: ThreadHold | None = None


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Fills:
    """One sidecar, and so many records on their way."""

    broken: Broken | None = None
    most_reads: int = 2

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if state.seq < EVENTS:
            hits = ", which hits the token" if state.seq + 1 == HIT else ""
            yield f"event {state.seq + 1}{hits}", state._replace(seq=state.seq + 1)
        if state.first is None:
            yield f"the first lease is granted, at {state.seq}", state._replace(first=state.seq)
        elif state.applied is None:
            yield "its reply arrives", self.adopt(state, state.first)
        if state.applied is not None:
            nexts = range(state.applied + 1, state.seq + 1)
            for seq in nexts if self.broken is Broken.JUMP else nexts[:1]:
                yield f"event {seq} is applied", self.apply(state, seq)
        if state.read < self.most_reads:
            live = state.seq < HIT
            as_of = None if self.broken is Broken.EARLY_AS_OF else state.seq
            reads = state.reads | {Read(live, as_of)}
            yield "an authority reads the record", state._replace(reads=reads, read=state.read + 1)
        for each in sorted(state.reads, key=str):  # so that a run is the same run again
            rest = state.reads - {each}
            if each.as_of is None:
                dated = state._replace(reads=rest | {each._replace(as_of=state.seq)})
                yield "it reads as_of", dated
            else:
                yield (
                    f"the record as of {each.as_of} arrives",
                    self.fill(state._replace(reads=rest), each.live, each.as_of),
                )

    def adopt(self, state: State, seq: int) -> State:
        held = state.held._replace(valid_at=seq) if state.held else None
        return state._replace(applied=seq, floor=seq, held=held)

    def apply(self, state: State, seq: int) -> State:
        missed = state.missed or (state.applied or 0) + 1 <= HIT < seq
        return state._replace(applied=seq, floor=max(state.floor, seq - RING), missed=missed)

    def fill(self, state: State, live: bool, as_of: int) -> State:
        if state.applied is None and self.broken is not Broken.BEFORE_LEASE:
            return state
        if self.broken is not Broken.UNTESTED and self.hit_since(state, as_of):
            return state
        return state._replace(held=ThreadHold(live, max(as_of, state.applied or 0)))

    def hit_since(self, state: State, seq: int) -> bool:
        if state.applied is None or seq >= state.applied:
            return False
        if seq < state.floor and self.broken is not Broken.NO_FLOOR:
            return True
        known = range(max(seq, state.floor) + 1, state.applied + 1)
        return HIT in known and not state.missed

    def wrong(self, state: State) -> str | None:
        held, applied = state.held, state.applied
        if held is None or applied is None or not held.live or applied < HIT:
            return None
        if self.broken is not Broken.KEPT and self.hit_since(state, held.valid_at):
            return None
        return "the sidecar has applied the event, and gives out the record as it was before it"
