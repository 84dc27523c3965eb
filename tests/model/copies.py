"""A sidecar that may be copied with its memory: one id, one counter, two processes (design 7).

Every heartbeat names the nonces that its sender used before, back to the last that had an answer.
So the authority can tell the process that holds the last lease from its copy, and never takes one
process alone for two, whatever is lost, late or repeated. There is no time here: no lease ends, and
what is waited for settles by acknowledgements, rows and releases, never by lapse.

A lease that was asked for before the copy was made belongs to both, which nothing shows: it is let
pass here, and ends by itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

MAX_UNANSWERED = 2


class Broken(StrEnum):
    """A rule of the design, switched off."""

    ANY_ACK = "an acknowledgement counts whichever of two copies sent it"
    NO_TRAIL = "a heartbeat counts whatever its sender sent before, if its counter is higher"
    ANY_RELEASE = "a release counts whichever of two copies sent it"
    SHARED_SETTLES = "the row of an id that two processes have is settled like any other"
    LATE_ENDS = "a lower counter with another nonce ends the id"
    FORGETS = "a process that has no answer for long forgets what it sent first"


class Beat(NamedTuple):
    """A heartbeat under way: it may arrive late, and more than once."""

    counter: int
    nonce: int
    trail: tuple[int, ...]
    applied: bool


class Process(NamedTuple):
    """`ignorant`: it holds a lease without the event, which it asked for after the copy."""

    counter: int = 0
    answered: int = 0
    unanswered: tuple[int, ...] = ()
    asking: int = 0
    applied: bool = False
    ignorant: bool = False
    released: bool = False

    @property
    def trail(self) -> tuple[int, ...]:
        return (self.answered, *self.unanswered)


class Row(NamedTuple):
    """The lease row; `nonce` is of the last heartbeat that counted."""

    counter: int
    nonce: int
    acked: bool
    shared: bool = False
    released: bool = False


class State(NamedTuple):
    """`old`: nonces up to this one precede the copy. `seen`: the row as the waiter saw it."""

    processes: tuple[Process, ...]
    row: Row
    nonces: int
    old: int = 0
    beats: frozenset[Beat] = frozenset()
    granted: frozenset[tuple[int, bool]] = frozenset()
    committed: bool = False
    seen: Row | None = None
    enforced: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Copies:
    """So many heartbeats are sent, by one process and perhaps its copy."""

    broken: Broken | None = None
    most_beats: int = 3

    @property
    def start(self) -> State:
        """Begin with the first lease."""
        process = Process(counter=1, answered=1, ignorant=True)
        return State(processes=(process,), row=Row(1, 1, acked=False), nonces=1)

    def steps(self, state: State) -> Moves:
        if len(state.processes) == 1 and not state.enforced:
            both = (state.processes[0]._replace(ignorant=False),) * 2
            yield "a copy is made", state._replace(processes=both, old=state.nonces)
        for number, process in enumerate(state.processes):
            for what, after in self.living(state, process, number):
                yield f"{'one' if number == 0 else 'the copy'} {what}", after
        if state.enforced:
            return
        for beat in state.beats:
            yield f"heartbeat {beat.counter} of nonce {beat.nonce} arrives", self.take(state, beat)
        yield from self.waiting(state)

    # The processes ------------------------------------------------------------------------------

    def living(self, state: State, process: Process, number: int) -> Moves:
        if process.released:
            return

        def now(state: State, **changed: Any) -> State:
            processes = list(state.processes)
            processes[number] = process._replace(**changed)
            return state._replace(processes=tuple(processes))

        if process.asking:
            for nonce, knowing in state.granted:
                if nonce == process.asking:
                    lease = process.ignorant or not (
                        knowing or process.applied or nonce <= state.old
                    )
                    answered = now(state, answered=nonce, unanswered=(), asking=0, ignorant=lease)
                    yield f"has its lease for nonce {nonce}", answered
        if state.enforced:
            return
        if len(state.beats) < self.most_beats:
            yield self.sending(state, process, number)
        if state.committed and not process.applied:
            yield "applies the event", now(state, applied=True, ignorant=False)
        if process.applied and self.settles(state, process):
            yield "acknowledges", state._replace(enforced=True)
        yield "releases", self.release(now(state, released=True, ignorant=False), process)

    def sending(self, state: State, process: Process, number: int) -> tuple[str, State]:
        trail, unanswered = process.trail, process.unanswered
        nonce = state.nonces + 1
        if len(unanswered) < MAX_UNANSWERED:
            unanswered = (*unanswered, nonce)
        elif self.broken is Broken.FORGETS:
            unanswered = (*unanswered[1:], nonce)
        else:
            nonce = unanswered[-1]
        counter = process.counter + 1
        beat = Beat(counter, nonce, trail, process.applied)
        processes = list(state.processes)
        processes[number] = process._replace(counter=counter, unanswered=unanswered, asking=nonce)
        after = state._replace(
            processes=tuple(processes),
            nonces=max(state.nonces, nonce),
            beats=state.beats | {beat},
        )
        return f"sends heartbeat {counter} with nonce {nonce}", after

    # The authority ------------------------------------------------------------------------------

    def take(self, state: State, beat: Beat) -> State:
        row = state.row
        if row.shared or row.released:
            return state
        follows = row.nonce in beat.trail or self.broken is Broken.NO_TRAIL
        if beat.counter > row.counter and follows:
            return self.count(state, beat)
        differs = beat.nonce != row.nonce
        late = beat.counter < row.counter and self.broken is Broken.LATE_ENDS
        if (beat.counter > row.counter) or (differs and (beat.counter == row.counter or late)):
            return state._replace(row=row._replace(shared=True))
        return state

    def count(self, state: State, beat: Beat) -> State:
        return state._replace(
            row=Row(beat.counter, beat.nonce, beat.applied or state.row.acked),
            granted=state.granted | {(beat.nonce, state.committed)},
        )

    def release(self, state: State, process: Process) -> State:
        row = state.row
        if row.released or (row.shared and self.broken is not Broken.SHARED_SETTLES):
            return state
        if row.nonce in process.trail or self.broken in (
            Broken.ANY_RELEASE,
            Broken.SHARED_SETTLES,
        ):
            return state._replace(row=row._replace(released=True))
        return state._replace(row=row._replace(shared=True))

    # The waiter ---------------------------------------------------------------------------------

    def waiting(self, state: State) -> Moves:
        if not state.committed:
            yield "COMMIT", state._replace(committed=True)
        elif state.row != state.seen:
            row = state.row
            spoken_for = not row.shared or self.broken is Broken.SHARED_SETTLES
            over = spoken_for and (row.acked or row.released)
            yield "the waiter looks", state._replace(seen=row, enforced=over)

    def settles(self, state: State, process: Process) -> bool:
        row = state.seen
        if row is None:
            return False
        if row.shared and self.broken is not Broken.SHARED_SETTLES:
            return False
        mine = row.nonce in process.trail
        return mine or self.broken in (Broken.ANY_ACK, Broken.SHARED_SETTLES)

    def wrong(self, state: State) -> str | None:
        if state.row.shared and len(state.processes) == 1:
            return "a process alone was taken for two"
        if state.enforced and any(each.ignorant for each in state.processes):
            return "the receipt is out, and a process holds a lease that is ignorant of it"
        return None
