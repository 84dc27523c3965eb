"""Leases, waits and receipts (design 7): one sidecar that may start again, any number of
authorities, and messages that come as late as they like, or never.

An authority keeps nothing between two steps of this model but what stands in Postgres, so it does
not matter which one takes the next: a waiter that crashes is resumed by any of them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

TERM = 2
"""What a lease lasts, in ticks of the sidecar's clock; and a wait, with the margin for that one."""


class Broken(StrEnum):
    """A rule of the design, switched off: as the code would be that forgot it."""

    REPLY_TIME = "the lease counts from the reply, not from before the heartbeat left"
    READ_FIRST = "G2 before G1: the ledger's end is read before the lease row is committed"
    STANDBY = "the ledger's end is read from a standby, or a cache"
    UNAPPLIED = "a lease counts though its events are not applied"
    REPLACED = "a newer lease replaces an older valid one whose events are applied"
    NO_MARGIN = "the wait has no margin for a slow clock"
    EARLY_ACK = "the acknowledgement leaves before the event is applied"
    ANYBODYS_ACK = "an acknowledgement without a MAC counts"
    SAME_ID = "a sidecar keeps its instance id over a restart"
    EARLY_RELEASE = "the release leaves before the deadlines are zero"
    LATE_REPLY = "a reply that comes after the release moves the deadlines again"
    EARLY_TIMER = "the wait's timer starts before the COMMIT returned"
    MEMORY = "who takes a wait over trusts its own memory of who holds leases"
    OLD_ROWS = "lease rows count though the ledger was just restored, and they with it"
    ACKS_ALONE = "a receipt waits for every acknowledgement, and never for the lapse"
    UNNAMED_GRACE = "a verifier in grace counts out when its lease has lapsed"


class Play(NamedTuple):
    """What happens in one run, so that no run is too large to see all of."""

    broken: Broken | None = None
    beats: int = 2
    restart: bool = False
    release: bool = False
    takeover: bool = False
    restore: bool = False
    slow: int = 0
    grace: int = 0

    @property
    def wait(self) -> int:
        return TERM + (0 if self.broken is Broken.NO_MARGIN else self.slow)

    @property
    def horizon(self) -> int:
        return 2 + self.takeover + self.wait + self.grace


class Beat(NamedTuple):
    """A heartbeat under way: sent, its row committed, the ledger's end read, replied."""

    instance: int
    sent: int
    row: bool = False
    seq: int | None = None


class Table(NamedTuple):
    """What a workload reads: `ends` on the sidecar's clock, and whether it shows the event."""

    instance: int = 0
    ends: int = 0
    applied: int = 0


class Phase(StrEnum):
    """How far the revocation has come."""

    NONE = "nothing yet"
    ASKED = "asked for"
    COMMITTED = "in the ledger"
    WAITING = "waited for"
    ENFORCED = "the receipt is out"


class State(NamedTuple):
    """Everything there is. `pending` and `lenient` are the waiter's; `owed` only checks it."""

    now: int = 0
    lag: int = 0
    phase: Phase = Phase.NONE
    since: int = 0
    pending: frozenset[int] = frozenset()
    lenient: frozenset[int] = frozenset()
    rows: frozenset[int] = frozenset()
    released: frozenset[int] = frozenset()
    acked: frozenset[int] = frozenset()
    restored: int | None = None
    took_over: bool = False
    beats: tuple[Beat, ...] = ()
    sent: int = 0
    table: Table = Table()
    waiting: frozenset[int] = frozenset()
    owed: int = 0
    ghost: Table | None = None

    @property
    def seq(self) -> int:
        return int(self.phase not in (Phase.NONE, Phase.ASKED))

    @property
    def clock(self) -> int:
        return self.now - self.lag


Moves = Iterator[tuple[str, State]]


@dataclass(frozen=True)
class Leases:
    """One sidecar, any number of authorities, one revocation."""

    play: Play

    @property
    def start(self) -> State:
        return State()

    def steps(self, state: State) -> Moves:
        yield from self.time(state)
        yield from self.sidecar(state)
        for place, beat in enumerate(state.beats):
            rest = state.beats[:place] + state.beats[place + 1 :]
            yield from self.heartbeat(state, beat, rest)
        yield from self.revocation(state)

    def time(self, state: State) -> Moves:
        last = self.play.horizon - self.play.wait - self.play.grace
        begins = state.phase in (Phase.ASKED, Phase.COMMITTED)
        if state.now == self.play.horizon or (begins and state.now == last):
            return  # an authority that never takes its step does not count as one
        yield "a tick", state._replace(now=state.now + 1)
        if state.lag < self.play.slow:
            yield (
                "a tick, which the sidecar's clock does not make",
                state._replace(now=state.now + 1, lag=state.lag + 1),
            )

    def sidecar(self, state: State) -> Moves:
        table = state.table
        up = table.instance not in state.released
        if up and state.sent < self.play.beats and state.now < self.play.horizon - TERM:
            beat = Beat(table.instance, state.clock)
            yield (
                "a heartbeat leaves",
                state._replace(beats=(*state.beats, beat), sent=state.sent + 1),
            )
        if state.seq > table.applied:
            ends = max(state.waiting | {table.ends})
            shown = table._replace(applied=1, ends=ends)
            owed = max(ends, state.owed)
            yield (
                "the event is applied",
                state._replace(table=shown, waiting=frozenset(), owed=owed),
            )
        if state.seq and table.instance not in state.acked:
            if table.applied or self.play.broken is Broken.EARLY_ACK:
                yield "an acknowledgement arrives", self.acknowledged(state, table.instance)
            elif self.play.broken is Broken.ANYBODYS_ACK:
                yield (
                    "somebody else's acknowledgement arrives",
                    self.acknowledged(state, table.instance),
                )
        if self.play.release and up and state.sent:
            silent = table if self.play.broken is Broken.EARLY_RELEASE else table._replace(ends=0)
            yield (
                "the sidecar gives up, and its release arrives",
                state._replace(
                    table=silent,
                    owed=0,
                    waiting=frozenset(),
                    released=state.released | {table.instance},
                    pending=state.pending - {table.instance},
                ),
            )
        if self.play.restart and state.ghost is None:
            fresh = Table(
                instance=0 if self.play.broken is Broken.SAME_ID else 1, applied=state.seq
            )
            yield (
                "the sidecar is killed and starts again; somebody still maps its old table",
                state._replace(table=fresh, ghost=table, waiting=frozenset(), owed=0),
            )

    def acknowledged(self, state: State, instance: int) -> State:
        return state._replace(acked=state.acked | {instance}, pending=state.pending - {instance})

    def heartbeat(self, state: State, beat: Beat, rest: tuple[Beat, ...]) -> Moves:
        fenced = state.restored is not None and beat.instance == state.table.instance
        if beat.seq is None and not fenced and (beat.row or self.play.broken is Broken.READ_FIRST):
            read = state._replace(beats=(*rest, beat._replace(seq=state.seq)))
            yield f"G2: an authority reads the ledger's end, {state.seq}", read
            if state.seq and self.play.broken is Broken.STANDBY:
                yield (
                    "G2: an authority reads an old end, 0",
                    state._replace(beats=(*rest, beat._replace(seq=0))),
                )
        elif not beat.row and not fenced and beat.instance not in state.released:
            yield (
                "G1: an authority commits the lease row",
                state._replace(
                    beats=(*rest, beat._replace(row=True)), rows=state.rows | {beat.instance}
                ),
            )
        elif beat.row and beat.seq is not None and beat.instance == state.table.instance:
            yield from self.reply(state._replace(beats=rest), beat, beat.seq)

    def reply(self, state: State, beat: Beat, seq: int) -> Moves:
        table = state.table
        if table.instance in state.released and self.play.broken is not Broken.LATE_REPLY:
            return
        ends = TERM + (state.clock if self.play.broken is Broken.REPLY_TIME else beat.sent)
        name = f"G3: the reply arrives, a lease at {seq} until {ends}"
        if seq <= table.applied or self.play.broken is Broken.UNAPPLIED:
            proven = max(ends, table.ends)
            owed = max(ends, state.owed)
            yield name, state._replace(table=table._replace(ends=proven), owed=owed)
        elif self.play.broken is Broken.REPLACED:
            yield name, state._replace(table=table._replace(ends=0), waiting=frozenset({ends}))
        else:
            yield name, state._replace(waiting=state.waiting | {ends})

    def revocation(self, state: State) -> Moves:
        match state.phase:
            case Phase.NONE if state.now <= 1:
                yield (
                    "somebody asks to revoke",
                    state._replace(phase=Phase.ASKED, since=state.now),
                )
                if self.play.restore and state.restored is None:
                    yield (
                        "a backup without the lease rows is restored: a new epoch",
                        state._replace(rows=frozenset(), restored=state.now),
                    )
            case Phase.ASKED:
                yield "COMMIT", state._replace(phase=Phase.COMMITTED)
            case Phase.COMMITTED:
                yield "a waiter reads the rows", self.begun(state)
            case Phase.WAITING:
                if self.over(state):
                    yield "the receipt", self.enforced(state)
                if self.play.takeover and not state.took_over:
                    yield (
                        "the waiter crashes, another authority resumes",
                        state._replace(phase=Phase.COMMITTED, took_over=True),
                    )
            case _:
                pass

    def begun(self, state: State) -> State:
        since = state.since if self.play.broken is Broken.EARLY_TIMER else state.now
        forgetful = self.play.broken is Broken.MEMORY and state.took_over
        rows = frozenset[int]() if forgetful else state.rows
        pending = rows - state.acked - state.released
        return state._replace(phase=Phase.WAITING, since=since, pending=pending)

    def rows_count(self, state: State) -> bool:
        if state.restored is None or self.play.broken is Broken.OLD_ROWS:
            return True
        return state.now - state.restored >= self.play.wait

    def over(self, state: State) -> bool:
        if not state.pending and self.rows_count(state):
            return True
        return (
            self.play.broken is not Broken.ACKS_ALONE and state.now >= state.since + self.play.wait
        )

    def enforced(self, state: State) -> State:
        named = self.play.broken is not Broken.UNNAMED_GRACE and self.play.grace
        lenient = state.pending if named else frozenset[int]()
        return state._replace(phase=Phase.ENFORCED, pending=frozenset(), lenient=lenient)

    def accepts(self, state: State, table: Table | None) -> bool:
        """Return True if a check that starts now, on this table, accepts the revoked token."""
        if table is None or table.applied or not table.ends:
            return False
        return state.clock < table.ends + self.play.grace and table.instance not in state.lenient

    def wrong(self, state: State) -> str | None:
        if state.phase is Phase.ENFORCED:
            if self.accepts(state, state.table):
                return "a check that starts after the receipt is accepted"
            if self.accepts(state, state.ghost):
                return "a check on a dead sidecar's table is accepted after the receipt"
        if state.table.ends <= state.clock < state.owed:
            return "a sidecar in order denies everybody"
        # Theorem 1: with messages lost, sidecars dead and waiters crashed, never later than this.
        waited = state.phase is Phase.WAITING and state.now >= state.since + self.play.wait
        return "there is no receipt after a full wait" if waited and not self.over(state) else None
