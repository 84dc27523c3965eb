"""Realistic bugs, put into the running product one at a time; a run has to detect each."""

import asyncio
import dataclasses
import mmap
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock
from weakref import WeakKeyDictionary

from tests.simulation.network import Host, now_s
from tests.simulation.trust import InstanceKey, RandomSource
from tests.simulation.workload import SimulatedConnection, SimulatedVerifier
from tests.support.postgres_in_memory import PostgresInMemory, Tables, Transaction

from rescind.client.holds import monitor
from rescind.client.holds.monitor import HoldMonitor
from rescind.client.holds.registry import HoldRegistry
from rescind.client.sidecar_connection import SidecarConnection
from rescind.core import lease, posture
from rescind.core.generation_table import GENERATION, Writer
from rescind.core.ledger import Position
from rescind.core.posture import Posture
from rescind.core.receipt import Outcome
from rescind.core.record import Record
from rescind.core.revocation import lift_of
from rescind.core.verdict import Allowed, Reason, Verdict
from rescind.errors import RescindError
from rescind.wire import events, heartbeat, signed_envelope
from rescind.wire.trust_statement import Purpose
from rescind_authority import actors
from rescind_authority.ports.ledger import CommittedEvent, IdempotentRequest, Key
from rescind_authority.usecases.enforcement import enforcer, receipt_store, wait
from rescind_authority.usecases.enforcement.row_watch import LeaseRowWatch
from rescind_authority.usecases.enforcement.wait import EnforcementWait
from rescind_authority.usecases.leases import lease_term
from rescind_authority.usecases.leases.instance_auth import AuthenticatedMessage, Instances
from rescind_authority.usecases.ledger import new_ids
from rescind_authority.usecases.ledger.sequencer import LedgerCommand, Sequencer
from rescind_authority.usecases.revocations.scheduled_lifts import LiftScheduler
from rescind_sidecar.link import failover
from rescind_sidecar.link.failover import FailoverTransport
from rescind_sidecar.table_file import TableFile
from rescind_sidecar.usecases import shutdown
from rescind_sidecar.usecases.instance import Attempts
from rescind_sidecar.usecases.lease.renew import Renew
from rescind_sidecar.usecases.ledger.follow import LedgerFollower
from rescind_sidecar.view.ring import Ring
from rescind_sidecar.view.view import View

Patches = list[tuple[object, str, Any]]
BUGS: dict[str, Callable[[], Patches]] = {}


def bug(name: str) -> Callable[[Callable[[], Patches]], Callable[[], Patches]]:
    """Register a bug under its name; the function returns the attributes that it replaces."""

    def note(patches: Callable[[], Patches]) -> Callable[[], Patches]:
        BUGS[name] = patches
        return patches

    return note


@contextmanager
def seeded(name: str) -> Generator[None]:
    """Run with one bug."""
    with ExitStack() as stack:
        for owner, attribute, instead in BUGS[name]():
            stack.enter_context(mock.patch.object(owner, attribute, instead))
        yield


# The lease ------------------------------------------------------------------------------------


@bug("the lease counts from the reply")
def _() -> Patches:
    accept_lease = View.accept_lease

    def late(self: View, reply: heartbeat.Reply, **times: Any) -> Any:
        return accept_lease(self, reply, **(times | {"sent_ns": times["received_ns"]}))

    return [(View, "accept_lease", late)]


@bug(
    "no margin for a slow clock: neither does the sidecar give back, nor the authority wait longer"
)
def _() -> Patches:
    def grant(position: Position, *, sent_ns: int, grant_term_ms: int) -> lease.Lease:
        return lease.Lease(position, sent_ns + grant_term_ms * 10**6)

    return [(lease, "grant", grant), (lease, "wait_ns", lambda term_ms: term_ms * 10**6)]


@bug("a restarted sidecar keeps its instance id")
def _() -> Patches:
    return [(RandomSource, "fresh", lambda self: InstanceKey(bytes(32)))]


@bug("the release leaves before the deadlines are zero")
def _() -> Patches:
    async def early(serving: Any, *, tables: Any, renew: Any, uses: Any) -> None:
        await serving.aclose()
        await renew.release()
        await asyncio.sleep(0.5)
        tables.retire()

    return [(shutdown, "shut_down", early)]


@bug("a new sidecar writes into the table that is there, in place of renaming its own over it")
def _() -> Patches:
    begin = TableFile.begin

    def in_place(self: TableFile, instance: bytes) -> Writer:
        there = self._path.with_suffix(".there")
        if not self._path.exists():
            return begin(self, instance)
        there.hardlink_to(self._path)
        begin(self, instance)
        with there.open("r+b") as file:
            file.write(self._path.read_bytes())
            file.flush()
            words = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        there.replace(self._path)
        self._writer = Writer(
            words, instance=instance, boot=self._boot, slots=self._slots, posture=self._posture
        )
        return self._writer

    return [(TableFile, "begin", in_place)]


@bug("a retired table is extended again by a late reply")
def _() -> Patches:
    extend, take = Writer.extend, Renew._apply_answer

    def again(self: Writer, ends_ns: int) -> None:
        self._retired = False
        extend(self, ends_ns)

    def heard(self: Renew, *answered: Any) -> bool:
        self._released = False  # the other guard against it
        return take(self, *answered)

    return [(Writer, "extend", again), (Renew, "_apply_answer", heard)]


@bug("the ledger's end is read from a cache of five seconds")
def _() -> Patches:
    beat = PostgresInMemory.beat
    cached: dict[int, tuple[float, Any]] = {}

    async def old(self: PostgresInMemory, heartbeats: Any) -> Any:
        beaten = await beat(self, heartbeats)
        read_s, tip = cached.get(id(self), (-9.0, None))
        if now_s() < read_s or now_s() - read_s > 5:
            read_s, tip = cached[id(self)] = (now_s(), beaten.tip)
        return dataclasses.replace(beaten, tip=tip)

    return [(PostgresInMemory, "beat", old)]


@bug("a heartbeat waits for NATS until its time is up, and HTTP is never asked")
def _() -> Patches:
    return [(failover, "_FIRST_SHARE", 1.0)]


@bug("a sidecar that went over to HTTP never goes back to NATS")
def _() -> Patches:
    async def stay(self: FailoverTransport) -> None:
        await asyncio.Event().wait()

    return [(FailoverTransport, "_return_to_nats", stay)]


@bug("the lease row is committed on one server, and the ledger's end read on an old primary")
def _() -> Patches:
    beat = PostgresInMemory.beat

    async def apart(self: PostgresInMemory, heartbeats: Any) -> Any:
        beaten = await beat(self, heartbeats)
        return dataclasses.replace(beaten, tip=await self.tip())

    return [(PostgresInMemory, "beat", apart)]


# Waits and receipts ---------------------------------------------------------------------------


@bug("the wait's timer starts a second before the COMMIT")
def _() -> Patches:
    begin = EnforcementWait.__init__

    def early(self: EnforcementWait, *arguments: Any, seen_ns: int, **others: Any) -> None:
        begin(self, *arguments, seen_ns=seen_ns - 10**9, **others)

    return [(EnforcementWait, "__init__", early)]


@bug("a receipt waits for acknowledgements alone, never for the lapse")
def _() -> Patches:
    return [(EnforcementWait, "is_over", lambda self, now_ns: not self._pending)]


@bug("one acknowledgement is enough")
def _() -> Patches:
    return [
        (EnforcementWait, "is_over", lambda self, now_ns: bool(self._done) or not self._pending)
    ]


@bug("an acknowledgement of the event before counts")
def _() -> Patches:
    def knows(self: EnforcementWait, row: Any) -> bool:
        knows: bool = row.epoch == self.target.epoch and row.acked_seq >= self.target.seq - 1
        return knows

    return [(EnforcementWait, "_is_acknowledged_by", knows)]


@bug("a waiter knows only the sidecars that beat at its own authority")
def _() -> Patches:
    beat, waiting = PostgresInMemory.beat, PostgresInMemory.waiting
    mine: dict[int, set[bytes]] = {}

    async def note(self: PostgresInMemory, heartbeats: Any) -> Any:
        beaten = await beat(self, heartbeats)
        mine.setdefault(id(self), set()).update(beaten.counted)
        return beaten

    async def known(self: PostgresInMemory, revocation_id: str | None = None) -> Any:
        seen = await waiting(self, revocation_id)
        rows = {each: row for each, row in seen.rows.items() if each in mine.get(id(self), ())}
        return dataclasses.replace(seen, rows=rows)

    return [(PostgresInMemory, "beat", note), (PostgresInMemory, "waiting", known)]


@bug("the lease rows of a restored backup count at once")
def _() -> Patches:
    return [(LeaseRowWatch, "rows_are_current", lambda *_: True)]


@bug("a row that stood still for half a second is over")
def _() -> Patches:
    begin = EnforcementWait.__init__

    def impatient(self: EnforcementWait, *arguments: Any, **others: Any) -> None:
        since = others["unchanged_since_ns"]
        others["unchanged_since_ns"] = {each: ns - 26 * 10**8 for each, ns in since.items()}
        begin(self, *arguments, **others)

    return [(EnforcementWait, "__init__", impatient)]


@bug("a verifier in grace counts as lapsed")
def _() -> Patches:
    return [(posture, "assumed_grace_ns", lambda _: 0)]


@bug("grace for one kind of token is grace for all")
def _() -> Patches:
    return [(Posture, "grace_ns", lambda self, kind: self.longest_grace_ns)]


@bug("a row that a later look does not show is over, whichever server was looked at")
def _() -> Patches:
    rows = EnforcementWait.apply_rows

    def missing(self: EnforcementWait, found: Any, *, now_ns: int) -> None:
        rows(self, found, now_ns=now_ns)
        for instance in self.pending - found.keys() if self._rows_are_current else ():
            self._settle(self._pending[instance], Outcome.LAPSED, now_ns)

    return [
        (EnforcementWait, "apply_rows", missing),
        (EnforcementWait, "may_settle", lambda self, seen: True),
    ]


@bug("what a server does not hold is called lost, though no later epoch proves it")
def _() -> Patches:
    def ignorant(target: CommittedEvent, seen: Any) -> bool:
        return not wait.is_committed(target, seen)

    return [(module, "is_lost", ignorant) for module in (enforcer, receipt_store)]


@bug("a process forgets its heartbeats, so that it is taken for a copy of itself")
def _() -> Patches:
    return [(Attempts, "trail", ())]


@bug("an acknowledgement needs no MAC")
def _() -> Patches:
    def believing(self: Instances, payload: bytes) -> AuthenticatedMessage:
        envelope = signed_envelope.decode(payload)
        secret = self.secret(envelope.key_id)
        return AuthenticatedMessage(envelope.key_id, envelope.content, secret, outdated=False)

    return [(Instances, "open", believing)]


@bug("a sidecar acknowledges what it has received, not what its table shows")
def _() -> Patches:
    receive_push = LedgerFollower.receive_push

    def eager(self: LedgerFollower, payload: bytes) -> None:
        batch = events.decode_batch(payload)
        current, last = self._instances.current, batch.first_seq + len(batch.payloads) - 1
        loop = asyncio.get_running_loop()
        if current.credentials is not None and self._trust_store.verify(
            Purpose.EVENTS, signed_envelope.decode(payload)
        ):
            ack = heartbeat.Ack(
                current.instance,
                next(current.counter),
                Position(batch.epoch, last, batch.after),
                current.attempts.trail,
            )
            telling = self._link.acknowledge(ack, current.credentials)
            kept.add(loop.create_task(telling))
        loop.call_later(0.3, receive_push, self, payload)

    kept: set[Any] = set()
    return [(LedgerFollower, "receive_push", eager)]


@bug("to shorten the term, the wait falls with the grant")
def _() -> Patches:
    def at_once(found: Any, **_: int) -> Any:
        if (found.grant_ms, found.wait_ms) == (found.target_ms,) * 2:
            return lease_term.Settled()
        return lease_term.Move(found.target_ms, found.target_ms)

    return [(lease_term, "decide", at_once)]


# The ledger -----------------------------------------------------------------------------------


@bug("a commit that failed is reported as done, and its receipt kept")
def _() -> Patches:
    begin = PostgresInMemory.begin

    class Hopeful:
        def __init__(self, real: Any) -> None:
            self._real = real

        async def __aenter__(self) -> Any:
            return await self._real.__aenter__()

        async def __aexit__(self, *what: object) -> Any:
            try:
                return await self._real.__aexit__(*what)
            except RescindError:
                if what[0] is not None:
                    raise
                return None

    return [(PostgresInMemory, "begin", lambda self: Hopeful(begin(self))), *_keeps_any()]


@bug("a receipt is kept whether the ledger still holds the event or not")
def _keeps_any() -> Patches:
    async def keep(
        self: PostgresInMemory,
        revocation_id: str,
        *,
        enforced_at_us: int,
        envelope: bytes,
        chunks: Sequence[bytes] = (),
    ) -> bytes:
        return await self._do(lambda tables: tables.receipts.setdefault(revocation_id, envelope))

    return [(PostgresInMemory, "keep", keep)]


@bug("a revoke of what is revoked already returns the old seq")
def _() -> Patches:
    commit = Sequencer.commit
    done: dict[Any, CommittedEvent] = {}

    async def idle(self: Sequencer, command: LedgerCommand) -> CommittedEvent:
        place = (asyncio.get_running_loop(), command.revocation.selector)
        if command.revocation.effect != "revoke" or command.then is not None:
            return await commit(self, command)
        if place not in done:
            done[place] = await commit(self, command)
        return done[place]

    return [(Sequencer, "commit", idle)]


@bug("issued_seq is read after the parent was checked")
def _() -> Patches:
    footing = Transaction.read_issuance

    async def late(self: Transaction, *arguments: Any) -> Any:
        found = await footing(self, *arguments)
        await asyncio.sleep(0.02)
        end = self._tables.end
        return dataclasses.replace(
            found, snapshot=dataclasses.replace(found.snapshot, as_of=end.seq)
        )

    return [(Transaction, "read_issuance", late)]


@bug("a lift ends every suspension of the same selector")
def _() -> Patches:
    def lift(self: Tables, revocation_id: str) -> None:
        held = [entry.event for _, entry in self.entries]
        named = {e.revocation.selector for e in held if e.revocation.revocation_id == revocation_id}
        self.lifted |= {
            (event.revocation.revocation_id, event.seq)
            for event in held
            if event.revocation.selector in named and event.revocation.effect != "revoke"
        }

    return [(Tables, "lift", lift)]


@bug("what is suspended for a time is lifted as soon as an authority looks at it")
def _() -> Patches:
    async def early(self: LiftScheduler) -> float:
        for each in await self._revocations.scheduled_lifts(limit=64):
            await self._lift(each)
        return 1.0

    return [(LiftScheduler, "step", early)]


@bug("each authority lifts what is over under a key of its own")
def _() -> Patches:
    async def lift(self: LiftScheduler, timed: Any) -> None:
        name = timed.event.revocation.revocation_id
        fresh = new_ids.generate("rev", self._clock, self._entropy)
        command = lift_of(timed.event, revocation_id=fresh, reason="", actor=actors.SCHEDULED_LIFT)
        assert isinstance(self._clock, Host)
        idempotency = IdempotentRequest(
            Key(actors.SCHEDULED_LIFT, f"{name} {self._clock.name}"), bytes(32)
        )
        await self._sequencer.commit(LedgerCommand(idempotency, command, exact=True))

    return [(LiftScheduler, "_lift", lift)]


@bug("an authority lifts only what it saw before its time was up")
def _() -> Patches:
    step = LiftScheduler.step
    seen = WeakKeyDictionary[LiftScheduler, set[str]]()

    async def forgetful(self: LiftScheduler) -> float:
        known = seen.setdefault(self, set())
        timed = await self._revocations.scheduled_lifts(limit=64)
        known |= {each.event.revocation.revocation_id for each in timed if each.left_us > 0}
        over = [each for each in timed if each.left_us <= 0]
        if any(each.event.revocation.revocation_id not in known for each in over):
            return 1.0
        return await step(self)

    return [(LiftScheduler, "step", forgetful)]


@bug("the lift of a kill ends its revoke too")
def _() -> Patches:
    def lift(self: Tables, revocation_id: str) -> None:
        self.lifted |= {(revocation_id, entry.event.seq) for _, entry in self.entries}

    return [(Tables, "lift", lift)]


@bug("a narrow takes nothing away where the scope was granted by name")
def _() -> Patches:
    def grants(self: Record, require: Collection[str]) -> bool:
        return self.granted.issuperset(require)

    return [(Record, "grants", grants)]


@bug("a check that demands a position is answered from the client's own memory")
def _() -> Patches:
    return [(SidecarConnection, "recall_at", lambda self, token, min_seq: self.recall(token))]


# The view -------------------------------------------------------------------------------------


@bug("a record is believed though events came since it was read")
def _() -> Patches:
    return [(View, "_is_valid", lambda self, cached: True)]


@bug("the ring says no where it does not reach")
def _() -> Patches:
    hit_since = Ring.hit_since

    def unfounded(self: Ring, handles: Any, seq: int) -> bool:
        return hit_since(self, handles, max(seq, self.floor))

    return [(Ring, "hit_since", unfounded)]


@bug("what memory holds is not held against what came since")
def _() -> Patches:
    return [(View, "find", lambda self, token_hash: self.records.get(token_hash))]


@bug("applied jumps over a gap")
def _() -> Patches:
    apply_push = View.apply_push

    def jump(self: View, batch: events.Batch) -> Any:
        if self.applied is not None and batch.first_seq > self.applied.seq + 1:
            self.applied = Position(batch.epoch, batch.first_seq - 1, batch.before)
        return apply_push(self, batch)

    return [(View, "apply_push", jump)]


@bug("an event moves the position and bumps no slot")
def _() -> Patches:
    def only_move(self: Writer, anchor: str, *, applied: int) -> None:
        self._words[GENERATION] += 1
        self.start_at(applied)

    return [(Writer, "bump", only_move)]


@bug("an event bumps its slot and not the generation")
def _() -> Patches:
    bump = Writer.bump

    def unseen(self: Writer, anchor: str, *, applied: int) -> None:
        generation = self.generation
        bump(self, anchor, applied=applied)
        self._words[GENERATION] = generation

    return [(Writer, "bump", unseen)]


@bug("a sidecar without a lease answers from memory")
def _() -> Patches:
    return [
        (View, "answers_for", lambda *_: True),
        (View, "leased", lambda self, now_ns: self.applied is not None),
    ]


# The client -----------------------------------------------------------------------------------


def _recall(*, deadline: bool, stamps: bool) -> Callable[[SidecarConnection, str], Any]:
    recall = SidecarConnection.recall

    def careless(self: SidecarConnection, token: str) -> Any:
        entry = self._entries.get(token)
        if entry is None or self.table is None:
            return recall(self, token)
        if not deadline:
            return entry.allowed if entry.read(self._words) == entry.values else None
        entry.generation = self._words[GENERATION]
        assert not stamps
        return recall(self, token)

    return careless


@bug("the client does not look at the deadline")
def _() -> Patches:
    # Without the ends, the monitor would check all holds all the time.
    return [
        (SidecarConnection, "recall", _recall(deadline=False, stamps=True)),
        (SidecarConnection, "ends_ns", lambda *_: None),
    ]


@bug("the client does not compare its stamps")
def _() -> Patches:
    return [(SidecarConnection, "recall", _recall(deadline=True, stamps=False))]


@bug("the client keeps its records when it meets another instance")
def _() -> Patches:
    def reconnect(self: SimulatedConnection, **_: Any) -> SidecarConnection:
        connection = self.connect(self.place, mapped=self.mapped)
        connection._entries.update(self._entries)
        return connection

    return [(SimulatedConnection, "reconnect", reconnect)]


@bug("the client keeps a decision for a second")
def _() -> Patches:
    acheck = SimulatedVerifier.acheck
    kept: dict[tuple[int, str, tuple[str, ...]], tuple[float, Verdict]] = {}

    async def cached(
        self: SimulatedVerifier, token: str, *, require: Any = (), **rest: Any
    ) -> Verdict:
        place = (id(self), token, tuple(require))
        asked_s, verdict = kept.get(place, (-9.0, None))
        if verdict is not None and 0 <= now_s() - asked_s < 1:
            return verdict
        verdict = await acheck(self, token, require=require, **rest)
        if isinstance(verdict, Allowed):
            kept[place] = (now_s(), verdict)
        return verdict

    return [(SimulatedVerifier, "acheck", cached)]


# Held work ------------------------------------------------------------------------------------


@bug("held work goes on without a lease")
def _() -> Patches:
    excused = HoldMonitor._is_excused

    def generous(self: HoldMonitor, reason: Reason, connection: SidecarConnection) -> bool:
        return reason is Reason.NO_LEASE or excused(self, reason, connection)

    return [(HoldMonitor, "_is_excused", generous)]


@bug("held work is looked at only when the sidecar tells of a change")
def _() -> Patches:
    return [
        (monitor, "_MAX_PAUSE_NS", 3_600 * 10**9),
        (HoldRegistry, "check_by", lambda *_: False),
    ]
