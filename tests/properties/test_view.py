"""The sidecar's view against a naive ledger, over a network that loses, repeats and reorders.

The machine plays authority, NATS and sidecar. What must hold at every step:

* what the view says of a token is what the whole history says of it at that position;
* the table's deadline is one of a lease whose events are applied, and no better one is forgotten;
* when an event that names a token is applied, the stamps of its slots differ from then on;
* `applied` moves one event at a time, along the ledger's own heads.
"""

from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.support.naive_ledger import EPOCH, Issued, NaiveLedger

from rescind.core import generation_table, lease
from rescind.core.generation_table import DEADLINE, HEADER_WORDS, Writer
from rescind.core.ledger import Position
from rescind.core.revocation import Event
from rescind.wire import events, heartbeat, records, signed_envelope
from rescind_sidecar.view.record_cache import CachedRecord
from rescind_sidecar.view.view import Behind, Current, Diverged, Progress, RefusedMessage, View

T = TypeVar("T")

RING = 5
SLOTS = 64
TERM_MS = 10_000
NAMES = ("kind:agent", "kind:admin", "tenant:a", "tenant:b", "chain:agent:x", "label:k=v")

names = st.sets(st.sampled_from(NAMES), max_size=4)
places = st.integers(0, 1 << 30)


class Table(Writer):
    """Watch what the view writes, and in which order."""

    def __init__(self) -> None:
        self.words = memoryview(bytearray((HEADER_WORDS + SLOTS) * 8)).cast("Q")
        super().__init__(self.words, instance=bytes(16), boot=bytes(16), slots=SLOTS)
        self.shown: int | None = None
        self.deadlines: list[tuple[int, int]] = []

    def start_at(self, applied: int) -> None:
        assert self.shown is None
        self.shown = applied
        super().start_at(applied)

    def bump(self, anchor: str, *, applied: int) -> None:
        assert self.shown is not None
        assert applied == self.shown + 1
        super().bump(anchor, applied=applied)
        self.shown = applied

    def extend(self, ends_ns: int) -> None:
        assert self.shown is not None
        self.deadlines.append((self.shown, ends_ns))
        super().extend(ends_ns)


@dataclass(frozen=True, slots=True)
class Beat:
    carried: Position | None
    sent_ns: int


@dataclass(frozen=True, slots=True)
class Handed:
    """What a workload keeps of an answer."""

    token: Issued
    slots: tuple[int, ...]
    stamps: tuple[int, ...]
    seq: int


class ViewMachine(RuleBasedStateMachine):
    @initialize(early=st.integers(0, 3))
    def begin(self, early: int) -> None:
        self.ledger = NaiveLedger()
        self.now_ns = 1
        self.pushes: list[events.Batch] = []
        self.fills: list[tuple[Issued, bytes]] = []
        for _ in range(early):
            self.ledger.issue("tenant:a")
            self.ledger.commit("suspend", ("tenant:a",))
        self.new_instance()

    def new_instance(self) -> None:
        self.table = Table()
        self.view = View(self.table, ring_capacity=RING)
        self.base = 0
        self.beats: list[Beat] = []
        self.replies: list[tuple[Beat, heartbeat.Reply]] = []
        self.answers: list[heartbeat.Events] = []
        self.leases: list[lease.Lease] = []
        self.handed: list[Handed] = []

    # The authority ----------------------------------------------------------------------------

    @rule(named=names)
    def issue(self, named: set[str]) -> None:
        self.ledger.issue(*named)

    @rule(
        effect=st.sampled_from(["revoke", "suspend", "narrow", "changed", "of the future"]),
        selectors=st.lists(
            st.sets(st.sampled_from((*NAMES, "*", "token:0", "token:1")), min_size=1, max_size=3),
            min_size=1,
            max_size=3,
        ),
    )
    def commit(self, effect: str, selectors: list[set[str]]) -> None:
        before = self.ledger.top
        for selector in selectors:
            self.ledger.commit(effect, tuple(selector))
        self.publish(before)

    @rule(name=st.sampled_from(NAMES))
    def kill(self, name: str) -> None:
        before = self.ledger.top
        revoked = self.ledger.commit("revoke", (name,))
        self.ledger.commit("suspend", (name,), under=revoked.revocation.revocation_id)
        self.publish(before)

    @precondition(lambda self: self.ledger.events)
    @rule(place=places)
    def lift(self, place: int) -> None:
        lifted = pick(self.ledger.events, place).revocation
        if lifted.effect == "revoke":
            return  # final
        before = self.ledger.top
        self.ledger.commit("lift", lifted.selector.handles, lifts=lifted.revocation_id)
        self.publish(before)

    def publish(self, before: Position) -> None:
        self.pushes.append(
            events.Batch(
                epoch=EPOCH,
                first_seq=before.seq + 1,
                before=before.head,
                after=self.ledger.top.head,
                awaited=False,
                payloads=self.ledger.after(before.seq, most=99),
            )
        )

    @precondition(lambda self: self.beats)
    @rule(place=places, most=st.sampled_from([0, 2, 99]))
    def grant(self, place: int, most: int) -> None:
        beat = self.beats.pop(place % len(self.beats))
        reply = heartbeat.Reply(
            instance=bytes(16),
            nonce=bytes(16),
            position=self.ledger.top,
            grant_term_ms=TERM_MS,
            authority_us=self.now_ns // 1_000,
            payloads=self.ledger.after(beat.carried.seq, most=most) if beat.carried else (),
        )
        self.replies.append((beat, reply))

    # The network: any message may come late, twice, or never ------------------------------------

    @precondition(lambda self: self.pushes)
    @rule(place=places, again=st.booleans())
    def push(self, place: int, again: bool) -> None:
        batch = take(self.pushes, place, again=again)
        self.progressed(self.view.apply_push(batch))

    @precondition(lambda self: self.pushes)
    @rule(place=places)
    def lose_a_push(self, place: int) -> None:
        take(self.pushes, place, again=False)

    @precondition(lambda self: self.replies)
    @rule(place=places, again=st.booleans(), late_ms=st.integers(0, 12_000))
    def reply(self, place: int, again: bool, late_ms: int) -> None:
        beat, reply = take(self.replies, place, again=again)
        self.now_ns += late_ms * 1_000_000
        if self.view.applied is None:
            self.base = reply.position.seq
        progress = self.view.accept_lease(
            reply, carried=beat.carried, sent_ns=beat.sent_ns, received_ns=self.now_ns
        )
        granted = lease.grant(reply.position, sent_ns=beat.sent_ns, grant_term_ms=TERM_MS)
        if self.position.seq - RING <= granted.position.seq and self.base <= granted.position.seq:
            self.leases.append(granted)
        self.progressed(progress)

    @precondition(lambda self: self.answers)
    @rule(place=places, again=st.booleans())
    def catch_up(self, place: int, again: bool) -> None:
        self.progressed(self.view.apply_repair(take(self.answers, place, again=again)))

    # The sidecar --------------------------------------------------------------------------------

    @rule(passed_ms=st.integers(1, 3_000))
    def beat(self, passed_ms: int) -> None:
        self.now_ns += passed_ms * 1_000_000
        self.beats.append(Beat(self.view.applied, self.now_ns))

    @precondition(lambda self: self.ledger.tokens)
    @rule(place=places)
    def read(self, place: int) -> None:
        token = pick(self.ledger.tokens, place)
        self.fills.append(
            (token, records.encode(self.ledger.record(token), signed_envelope.unsigned))
        )

    @precondition(lambda self: self.fills)
    @rule(place=places, again=st.booleans())
    def fill(self, place: int, again: bool) -> None:
        token, payload = take(self.fills, place, again=again)
        held = self.view.fill(token.token_hash, payload)
        assert not isinstance(held, RefusedMessage)
        if isinstance(held, CachedRecord):
            self.believed(token, held)

    @precondition(lambda self: self.ledger.tokens)
    @rule(place=places)
    def look(self, place: int) -> None:
        token = pick(self.ledger.tokens, place)
        held = self.view.find(token.token_hash)
        if held is not None:
            self.believed(token, held)

    @precondition(lambda self: self.fills)
    @rule(place=places)
    def another_tokens_record_is_refused(self, place: int) -> None:
        _, payload = pick(self.fills, place)
        if self.view.applied is not None:
            self.refused(self.view.fill(b"\xff" * 32, payload))

    @precondition(lambda self: self.view.applied is not None)
    @rule(forgery=st.sampled_from(["epoch", "before", "after", "gap", "garbage"]))
    def a_forged_batch_is_refused_and_changes_nothing(self, forgery: str) -> None:
        honest = NaiveLedger()
        honest.positions = [self.position]
        event = honest.commit("revoke", ("*",))
        batch = events.Batch(
            epoch=EPOCH + (forgery == "epoch"),
            first_seq=event.seq,
            before=b"\xff" * 32 if forgery == "before" else self.position.head,
            after=b"\xff" * 32 if forgery == "after" else honest.top.head,
            awaited=False,
            payloads={
                "garbage": (honest.payloads[0], b"garbage"),
                "gap": (
                    honest.payloads[0],
                    honest.payloads[0],
                    events.encode(event_at(event.seq + 2)),
                ),
            }.get(forgery, (honest.payloads[0],)),
        )
        before = bytes(self.table.words), self.view.applied, self.view.leases.ends_ns
        self.refused(self.view.apply_push(batch))
        assert before == (bytes(self.table.words), self.view.applied, self.view.leases.ends_ns)

    # What must hold -----------------------------------------------------------------------------

    @property
    def position(self) -> Position:
        assert self.view.applied is not None
        return self.view.applied

    def refused(self, answer: object) -> None:
        assert isinstance(answer, RefusedMessage)

    def progressed(self, progress: Progress) -> None:
        match progress:
            case Current():
                pass
            case Behind(since):
                assert since == heartbeat.Since(EPOCH, self.position.seq)
                most = 3
                missing = self.ledger.after(since.seq, most=most)
                self.answers.append(heartbeat.Events(EPOCH, missing))
            case Diverged():
                # In a world without forgery only one thing ends an instance.
                assert self.ledger.top.seq - self.position.seq > RING
                self.new_instance()
            case RefusedMessage(why):
                raise AssertionError(why)

    def believed(self, token: Issued, held: CachedRecord) -> None:
        seq = max(held.record.as_of, self.position.seq)
        truth = self.ledger.state(token, seq)
        assert (held.record.restrictions, held.record.scopes) == (truth.restrictions, truth.scopes)
        stamps = self.table.stamps(held.slots)
        self.handed.append(Handed(token, held.slots, stamps, self.position.seq))

    @invariant()
    def applied_is_a_position_of_the_ledger(self) -> None:
        if self.view.applied is not None:
            assert self.view.applied == self.ledger.positions[self.view.applied.seq]
            assert (
                self.table.shown == generation_table.applied(self.table.words) == self.position.seq
            )

    @invariant()
    def the_deadline_is_that_of_the_best_lease_whose_events_are_applied(self) -> None:
        applied = self.position.seq if self.view.applied else -1
        ends_ns = max(
            (one.ends_ns for one in self.leases if one.position.seq <= applied), default=0
        )
        assert {self.table.words[word] for word in DEADLINE.values()} == {ends_ns}
        assert self.view.leased(ends_ns - 1) or not ends_ns
        assert not self.view.leased(ends_ns)
        for shown, shown_ends_ns in self.table.deadlines:
            assert any(
                one.ends_ns == shown_ends_ns and one.position.seq <= shown for one in self.leases
            )

    @invariant()
    def the_stamps_of_a_token_that_was_hit_differ(self) -> None:
        for handed in self.handed:
            if self.ledger.hit_between(handed.token, handed.seq, self.position.seq):
                assert self.table.stamps(handed.slots) != handed.stamps

    def teardown(self) -> None:
        for token in self.ledger.tokens if hasattr(self, "ledger") else ():
            held = self.view.find(token.token_hash)
            if held is not None:
                self.believed(token, held)


def pick(items: list[T], place: int) -> T:
    return items[place % len(items)]


def take(items: list[T], place: int, *, again: bool) -> T:
    item = pick(items, place)
    if not again:
        items.remove(item)
    return item


def event_at(seq: int) -> Event:
    ledger = NaiveLedger()
    ledger.positions = [Position(EPOCH, seq - 1, bytes(32))]
    return ledger.commit("revoke", ("*",))


TestView = ViewMachine.TestCase
