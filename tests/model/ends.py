"""The end of a token, now or at a time, with clocks that are slow and a clock that is set back.

One token, one verifier that may start again, one Postgres whose clock is set back at most once. The
verifier looks the token up, fills what it found, applies events, and reckons the authority's time
from replies by a clock that may miss a tick. The receipt of the end is there once the verifier has
applied the event that ends it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

HORIZON = 4
LATER = 2
"""When the token is to end that is expired for later; by itself it ends long after the horizon."""
NATURAL = 99
SET_BACK = 2
MAX_READS = 2


class Broken(StrEnum):
    """A rule of the design, switched off."""

    TIME_ONLY = "an ended token is judged by its time: its record has no restriction at a position"
    TWO_COMMITS = "the restriction of an end is committed after its event"
    NO_EVENT = "an end at a time is left to the clock: no event makes it a position"
    EARLY_EVENT = "the event of a later end is committed with the command, before its time"
    BACKWARDS = "the verifier's idea of the authority's time follows a clock that is set back"
    HOLD_ALONE = "until the event of a later end, its time does not count"


class Read(NamedTuple):
    """What a look-up saw, and as of which position."""

    as_of: int
    ended: bool
    expires: int


class State(NamedTuple):
    """Everything there is.

    `offset` is the authority's time less the verifier's, as of the last reply; `floor` what the
    verifier took the authority's time for before that; `over` the last end that it found over.
    """

    now: int = 0
    lag: int = 0
    back: int = 0
    events: tuple[str, ...] = ()
    expires: int = NATURAL
    ended: bool = False
    owed: bool = False
    reads: int = 0
    under_way: frozenset[Read] = frozenset()
    record: Read | None = None
    applied: int = 0
    offset: int = 0
    floor: int = 0
    restarted: bool = False
    receipt: bool = False
    over: int = -1

    @property
    def clock(self) -> int:
        """Postgres's clock."""
        return self.now - self.back

    @property
    def local(self) -> int:
        """The verifier's clock."""
        return self.now - self.lag

    @property
    def latest(self) -> int:
        """The authority's time as the verifier has it."""
        return max(self.floor, self.local + self.offset)


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Ends:
    """One end, in every order of what can happen around it."""

    broken: Broken | None = None

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        for name, after in self._all(state):
            yield name, self._seen(after)

    def _all(self, state: State) -> Moves:
        yield from self.clocks(state)
        yield from self.ending(state)
        yield from self.looking(state)
        yield from self.following(state)

    def _seen(self, state: State) -> State:
        """Record the end that the verifier has found to be over."""
        record = state.record
        if record is None or record.ended or state.latest < record.expires:
            return state
        return state._replace(over=max(state.over, record.expires))

    def clocks(self, state: State) -> Moves:
        if state.now < HORIZON:
            yield "a tick", state._replace(now=state.now + 1)
            if not state.lag:
                yield (
                    "a tick, which the verifier's clock does not make",
                    state._replace(now=state.now + 1, lag=1),
                )
        if not state.back and state.now:
            yield "Postgres's clock is set back", state._replace(back=SET_BACK)
        offset = state.clock - state.local
        floor = 0 if self.broken is Broken.BACKWARDS else state.latest
        yield "a reply", state._replace(offset=offset, floor=max(floor, 0))

    def ending(self, state: State) -> Moves:
        if not state.events:
            yield "it is expired", self.ended(state._replace(expires=state.clock))
            later = state._replace(events=("set",), expires=LATER)
            if self.broken is Broken.EARLY_EVENT:
                later = later._replace(ended=True)
            yield "it is expired for later", later
        due = state.events == ("set",) and state.clock >= LATER
        if due and self.broken is not Broken.NO_EVENT:
            yield "its time has come: an authority ends it", self.ended(state)
        if state.owed:
            yield "the restriction is committed", state._replace(ended=True, owed=False)

    def ended(self, state: State) -> State:
        after = state._replace(events=(*state.events, "end"))
        if self.broken is Broken.TIME_ONLY:
            return after
        if self.broken is Broken.TWO_COMMITS:
            return after._replace(owed=True)
        return after._replace(ended=True)

    def looking(self, state: State) -> Moves:
        if state.reads < MAX_READS:
            read = Read(len(state.events), state.ended, state.expires)
            yield (
                "it is looked up",
                state._replace(reads=state.reads + 1, under_way=state.under_way | {read}),
            )
        for read in state.under_way:
            arrived = state._replace(under_way=state.under_way - {read})
            if not state.events[read.as_of : state.applied]:
                arrived = arrived._replace(record=read)
            yield "what was seen of it arrives", arrived

    def following(self, state: State) -> Moves:
        if state.applied < len(state.events):
            # Every event here concerns the token: its record is dropped.
            yield "an event is applied", state._replace(applied=state.applied + 1, record=None)
        if not state.restarted:
            yield (
                "the verifier starts again, and has a reply",
                state._replace(
                    restarted=True,
                    record=None,
                    under_way=frozenset(),
                    applied=len(state.events),
                    offset=state.clock - state.local,
                    floor=0,
                    over=-1,
                ),
            )
        if not state.receipt and self.told(state):
            yield "the receipt of the end", state._replace(receipt=True)

    def told(self, state: State) -> bool:
        if self.broken is Broken.NO_EVENT and state.events == ("set",):
            return state.clock >= LATER and state.applied == 1
        return "end" in state.events[: state.applied]

    def accepts(self, state: State) -> bool:
        """Return True if a check that starts now takes the token."""
        record = state.record
        if record is None or record.ended:
            return False
        if self.broken is Broken.HOLD_ALONE:
            return True
        return state.latest < record.expires

    def wrong(self, state: State) -> str | None:
        if state.receipt and self.accepts(state):
            return "a token that was ended is accepted after the receipt"
        if state.record is not None and self.accepts(state) and state.record.expires <= state.over:
            return "a token whose time was over is accepted again by the same verifier"
        early = state.record is not None and state.record.ended and state.events == ("set",)
        return "a token that is to end later is denied before its time" if early else None
