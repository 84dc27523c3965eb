"""The lease term changes while leases are granted and waited for (design 7).

`grant` and `wait` are columns of the head row. G2 reads the one in its snapshot, a waiter reads the
other after its COMMIT; an operator moves them, one statement at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

SHORT, LONG = 1, 3
HORIZON = 6


class Broken(StrEnum):
    """A rule of the design, switched off."""

    GRANT_FIRST = "to lengthen, the grant is raised before the wait"
    WAIT_AT_ONCE = "to shorten, the wait is lowered together with the grant"
    EARLY_READ = "the waiter reads the term before its COMMIT"


class State(NamedTuple):
    """`ends` is when the lease ends that is ignorant of the revocation."""

    now: int = 0
    grant: int = SHORT
    wait: int = SHORT
    lowered: int | None = None
    sent: int | None = None
    beats: int = 0
    granted: int | None = None
    ends: int = 0
    term: int | None = None
    committed: bool = False
    began: int | None = None
    enforced: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Terms:
    """A term that grows, or shrinks."""

    broken: Broken | None = None
    lengthen: bool = True
    most_beats: int = 2

    @property
    def start(self) -> State:
        return State() if self.lengthen else State(grant=LONG, wait=LONG)

    def steps(self, state: State) -> Moves:
        if state.now < HORIZON:
            yield "a tick", state._replace(now=state.now + 1)
        yield from self.longer(state) if self.lengthen else self.shorter(state)
        if state.sent is None and state.beats < self.most_beats:
            yield "a heartbeat leaves", state._replace(sent=state.now, beats=state.beats + 1)
        elif state.sent is not None and state.granted is None and not state.committed:
            yield f"G2 grants {state.grant}", state._replace(granted=state.grant)
        elif state.sent is not None and state.granted is not None:
            ends = max(state.ends, state.sent + state.granted)
            yield "G3: the reply", state._replace(sent=None, granted=None, ends=ends)
        yield from self.revocation(state)

    def longer(self, state: State) -> Moves:
        if state.wait == SHORT and (self.broken is not Broken.GRANT_FIRST or state.grant == LONG):
            yield "the wait is raised", state._replace(wait=LONG)
        if state.grant == SHORT and (self.broken is Broken.GRANT_FIRST or state.wait == LONG):
            yield "the grant is raised", state._replace(grant=LONG)

    def shorter(self, state: State) -> Moves:
        if state.grant == LONG:
            yield "the grant is lowered", state._replace(grant=SHORT, lowered=state.now)
        elif state.wait == LONG and state.lowered is not None:
            patience = 0 if self.broken is Broken.WAIT_AT_ONCE else LONG
            if state.now - state.lowered >= patience:
                yield "the wait is lowered", state._replace(wait=SHORT)

    def revocation(self, state: State) -> Moves:
        early = self.broken is Broken.EARLY_READ
        if early and state.term is None:
            yield f"the waiter reads the term, {state.wait}", state._replace(term=state.wait)
        elif not state.committed:
            yield "COMMIT", state._replace(committed=True)
        elif state.began is None:
            term = state.term if early and state.term else state.wait
            yield f"the wait begins, for {term}", state._replace(began=state.now, term=term)
        elif not state.enforced and state.now - state.began >= (state.term or LONG):
            yield "the receipt: by lapse", state._replace(enforced=True)

    def wrong(self, state: State) -> str | None:
        if state.enforced and state.now < state.ends:
            return "the receipt is out, and a lease that nobody waited for still holds"
        return None
