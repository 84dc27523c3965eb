"""Two threads of a workload check a token, load by load, while the sidecar writes its table, store
by store (design 6.3 and 6.5).

One event is committed before all of this. It takes away what both threads ask of the token; the
workload holds the record as it was even before an older event. The receipt comes by
acknowledgement, or by the lapse of the lease; a sidecar that was cut off comes back at any moment
with a lease that covers the event.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

LAPSE = 1
"""When the old lease ends; the new one does not end in this story."""
NEW_ENDS = 9


class Broken(StrEnum):
    """A rule of the design, switched off."""

    LEASE_LAST = "the lease is read last"
    LEASE_AFTER_SLOTS = "the lease is read after the slots"
    GENERATION_AFTER_SLOTS = "the generation is read after the slots"
    REREAD = "the generation that is noted is read once more, after the slots"
    GENERATION_FIRST = "the sidecar writes the generation before the slot"
    DEADLINE_FIRST = "the sidecar moves the deadline before the slot"
    EARLY_ACK = "the acknowledgement leaves before the table shows the event"
    IN_PLACE = "an entry is changed in place, not replaced whole"
    LATE_STAMPS = "the stamps of an answer are read after its record was judged"
    JOINED = "a check joins an answer that was asked for before it began, and believes it"
    DEADLINE_UNREAD = "the lease is looked at when a record is stored, not at each check"


READS: dict[Broken | None, tuple[str, ...]] = {
    None: ("lease", "generation", "slot", "clock"),
    Broken.LEASE_LAST: ("generation", "slot", "clock", "lease"),
    Broken.LEASE_AFTER_SLOTS: ("generation", "slot", "lease", "clock"),
    Broken.GENERATION_AFTER_SLOTS: ("lease", "slot", "generation", "clock"),
    Broken.DEADLINE_UNREAD: ("generation", "slot", "clock"),
}
WRITES: dict[Broken | None, tuple[str, ...]] = {
    None: ("slot", "generation", "deadline"),
    Broken.GENERATION_FIRST: ("generation", "slot", "deadline"),
    Broken.DEADLINE_FIRST: ("deadline", "slot", "generation"),
}
ANOTHERS = ("generation",)
"""Before that, an event of another token: all that this one sees of it is the generation."""


class Entry(NamedTuple):
    """What the workload remembers of the token; `made` tells one object from another."""

    made: int
    live: bool
    stamp: int
    generation: int


class Answer(NamedTuple):
    """What the sidecar said: as it was when it was said."""

    live: bool
    stamp: int
    generation: int


class Check(NamedTuple):
    """One check under way: what it has read, and what it asked."""

    late: bool
    done: int = 0
    entry: Entry | None = None
    ends: int = NEW_ENDS
    generation: int = 0
    slot: int = 0
    same: bool = False
    asked: bool = False
    judged: bool | None = None
    answer: Answer | None = None
    half_stored: bool = False


class State(NamedTuple):
    """The table, the sidecar, the receipt, and the two threads with what they share."""

    now: int = 0
    slot: int = 0
    generation: int = 0
    ends: int = LAPSE
    written: int = 0
    receipt: bool = False
    entry: Entry = Entry(0, live=True, stamp=-1, generation=-1)
    made: int = 0
    checks: tuple[Check | None, Check | None] = (None, None)
    begun: int = 0
    accepted: bool = False


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Checks:
    """Two threads, so many checks."""

    broken: Broken | None = None
    most_checks: int = 3

    @property
    def reads(self) -> tuple[str, ...]:
        return READS.get(self.broken, READS[None])

    @property
    def writes(self) -> tuple[str, ...]:
        return ANOTHERS + WRITES.get(self.broken, WRITES[None])

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        if state.now < LAPSE:
            yield "the old lease lapses", state._replace(now=LAPSE)
        yield from self.sidecar(state)
        for thread in (0, 1):
            name = "AB"[thread]
            check = state.checks[thread]
            for what, after in self.begin(state) if check is None else self.go_on(state, check):
                changed, now = after
                checks = (now, state.checks[1]) if thread == 0 else (state.checks[0], now)
                yield f"{name} {what}", changed._replace(checks=checks)

    def sidecar(self, state: State) -> Moves:
        if state.written < len(self.writes):
            yield (
                f"the sidecar writes the {self.writes[state.written]}",
                self.write(state, self.writes[state.written])._replace(written=state.written + 1),
            )
        shown = self.broken is Broken.EARLY_ACK or {"slot", "generation"} <= set(
            self.writes[1 : state.written]
        )
        if not state.receipt and (shown or state.now >= LAPSE):
            yield "the receipt", state._replace(receipt=True)

    def write(self, state: State, word: str) -> State:
        match word:
            case "slot":
                return state._replace(slot=1)
            case "generation":
                return state._replace(generation=state.generation + 1)
            case _:
                return state._replace(ends=NEW_ENDS)

    def begin(self, state: State) -> Iterator[tuple[str, tuple[State, Check | None]]]:
        if state.begun == self.most_checks:
            return
        begun = state._replace(begun=state.begun + 1)
        check = Check(late=state.receipt)
        yield "begins a check", (begun, self.restart(state, check))
        if self.broken is Broken.JOINED:
            for other in state.checks:
                if other is not None and other.answer is not None and other.answer.live:
                    accepted = state.accepted or state.receipt
                    yield "joins the other's answer", (begun._replace(accepted=accepted), None)

    def restart(self, state: State, check: Check) -> Check:
        """Begin to read: with the entry that is there now, and nothing else."""
        return Check(late=check.late, entry=state.entry)

    def go_on(self, state: State, check: Check) -> Iterator[tuple[str, tuple[State, Check | None]]]:
        if check.answer is not None:
            yield from self.store(state, check, check.answer)
        elif check.asked:
            yield from self.answer(state, check)
        elif check.same:
            yield "notes the generation", self.note(state, check)
        elif check.done < len(self.reads):
            yield (
                f"reads the {self.reads[check.done]}",
                self.read(state, check, self.reads[check.done]),
            )
        else:
            yield "decides", self.decide(state, check)

    def read(self, state: State, check: Check, word: str) -> tuple[State, Check | None]:
        check = check._replace(done=check.done + 1)
        match word:
            case "lease":
                return state, check._replace(ends=state.ends)
            case "generation":
                check = check._replace(generation=state.generation)
            case "slot":
                check = check._replace(slot=state.slot)
            case _:
                late = state.now >= check.ends and "lease" in self.reads[: check.done]
                return (state, None) if late else (state, check)
        if {"generation", "slot"} <= set(self.reads[: check.done]):
            return self.compare(state, check)
        return state, check

    def compare(self, state: State, check: Check) -> tuple[State, Check | None]:
        entry = self.current(state, check)
        if entry.generation == check.generation:
            return state, check
        if entry.stamp != check.slot:
            return state, Check(late=check.late, asked=True)
        return state, check._replace(same=True)

    def note(self, state: State, check: Check) -> tuple[State, Check]:
        entry, check = self.current(state, check), check._replace(same=False)
        noted = state.generation if self.broken is Broken.REREAD else check.generation
        fresh = entry._replace(generation=noted)
        mine = state.entry.made == entry.made
        return (state._replace(entry=fresh) if mine else state), check._replace(entry=fresh)

    def current(self, state: State, check: Check) -> Entry:
        """Return the entry that the check holds; with changes in place, both threads share it."""
        assert check.entry is not None
        return state.entry if state.entry.made == check.entry.made else check.entry

    def decide(self, state: State, check: Check) -> tuple[State, Check | None]:
        leased = state.now < check.ends
        live = self.current(state, check).live
        accepted = state.accepted or (check.late and leased and live)
        return state._replace(accepted=accepted), None

    def answer(
        self, state: State, check: Check
    ) -> Iterator[tuple[str, tuple[State, Check | None]]]:
        # The sidecar is one thread: it answers before it applies the event, or after.
        if len(ANOTHERS) < state.written < len(self.writes):
            return
        live = state.written < len(self.writes)
        if check.judged is None and state.now < state.ends:
            if self.broken is Broken.LATE_STAMPS:
                yield "is judged by the sidecar", (state, check._replace(judged=live))
            else:
                said = Answer(live, state.slot, state.generation)
                yield f"is answered {said}", (state, check._replace(answer=said))
        elif check.judged is not None:
            said = Answer(check.judged, state.slot, state.generation)
            yield f"is answered {said}", (state, check._replace(answer=said))

    def store(
        self, state: State, check: Check, said: Answer
    ) -> Iterator[tuple[str, tuple[State, Check | None]]]:
        if self.broken is not Broken.IN_PLACE:
            made = state.made + 1
            stored = state._replace(entry=Entry(made, *said), made=made)
            yield "stores the answer", (stored, self.restart(stored, check))
        elif not check.half_stored:
            half = state._replace(entry=state.entry._replace(live=said.live))
            yield "stores the record in place", (half, check._replace(half_stored=True))
        else:
            entry = state.entry._replace(stamp=said.stamp, generation=said.generation)
            whole = state._replace(entry=entry)
            yield "stores the stamps in place", (whole, self.restart(whole, check))

    def wrong(self, state: State) -> str | None:
        return "a check that started after the receipt accepts" if state.accepted else None
