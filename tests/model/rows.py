"""Lease rows that stand still, and are swept away, while their instance comes back (design 7).

The instance hears no event, and beats when it likes. Two authorities look at its row: one sweeps
it when it was silent for long, the other waits for a revocation.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

TERM = WAIT = 2
SILENT = 3
HORIZON = 5


class Broken(StrEnum):
    """A rule of the design, switched off."""

    ANY_VERSION = "a silent row is deleted whatever its version is by then"
    VERSION_AGAIN = "a row that comes back after a sweep begins with a version it had before"
    EARLY_WATCH = "a version is watched from before the read that showed it"
    IMPATIENT = "a row that stood still for less than a wait is over"


class Watch(NamedTuple):
    """Since when an authority has seen the row at this version."""

    version: int
    since: int


class State(NamedTuple):
    """`ends` is when the lease ends that is ignorant of the revocation; the instance counts."""

    now: int = 0
    row: int | None = None
    counter: int = 0
    unread: int | None = None
    ends: int = 0
    sweeper: Watch | None = None
    waiter: Watch | None = None
    looking: int = 0
    committed: bool = False
    pending: int | None = None
    began: int | None = None
    enforced: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Rows:
    """One instance, that beats so often."""

    broken: Broken | None = None
    most_beats: int = 2

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if state.now < HORIZON:
            yield "a tick", state._replace(now=state.now + 1)
        if state.counter < self.most_beats and state.unread is None:
            counter = state.counter + 1
            row = counter if state.row is None else max(state.row + 1, counter)
            if self.broken is Broken.VERSION_AGAIN:
                row = 1 if state.row is None else state.row + 1
            beat = state._replace(counter=counter, row=row, unread=state.now)
            yield f"a heartbeat, G1: the row is at version {row}", beat
        if state.unread is not None:
            ends = state.ends if state.committed else state.unread + TERM
            yield "G2 and G3: its lease", state._replace(unread=None, ends=ends)
        yield from self.sweeping(state)
        yield from self.waiting(state)

    def sweeping(self, state: State) -> Moves:
        watch = state.sweeper
        if state.row is not None and (watch is None or watch.version != state.row):
            yield "the sweeper looks", state._replace(sweeper=Watch(state.row, state.now))
        if state.row is None or watch is None or state.now - watch.since < SILENT:
            return
        if watch.version == state.row or self.broken is Broken.ANY_VERSION:
            yield "the sweeper deletes the row", state._replace(row=None)

    def waiting(self, state: State) -> Moves:
        watch = state.waiter
        if not state.committed and state.now != state.looking:
            yield "the waiter is about to look", state._replace(looking=state.now)
        if state.row is not None and (watch is None or watch.version != state.row):
            since = state.looking if self.broken is Broken.EARLY_WATCH else state.now
            yield "the waiter looks", state._replace(waiter=Watch(state.row, since))
        if not state.committed:
            yield "COMMIT", state._replace(committed=True)
        elif state.began is None:
            gone = state.row is None or self.stood_still(state)
            pending = None if gone else state.row
            yield "the wait begins", state._replace(began=state.now, pending=pending)
        elif not state.enforced:
            lapsed = state.now - state.began >= WAIT
            if state.pending is None or state.row is None or lapsed:
                yield "the receipt", state._replace(enforced=True)

    def stood_still(self, state: State) -> bool:
        watch = state.waiter
        if watch is None or watch.version != state.row:
            return False
        patience = WAIT - 1 if self.broken is Broken.IMPATIENT else WAIT
        return state.now - watch.since >= patience

    def wrong(self, state: State) -> str | None:
        if state.enforced and state.now < state.ends:
            return "the receipt is out, and a lease that is ignorant of it still holds"
        return None
