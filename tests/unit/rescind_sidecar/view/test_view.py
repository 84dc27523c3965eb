"""What ends an instance, what is refused, and what means nothing (design 4 and 7)."""

from dataclasses import replace

import pytest
from tests.support import messages
from tests.support.naive_ledger import EPOCH, NaiveLedger

from rescind.core.generation_table import HEADER_WORDS, Writer
from rescind.core.ledger import Position
from rescind.wire import events, heartbeat
from rescind_sidecar.view.record_cache import CachedRecord
from rescind_sidecar.view.view import (
    Behind,
    Current,
    Diverged,
    Progress,
    RefusedMessage,
    Stale,
    View,
)

SLOTS = 64
RING = 8
NS_PER_S = 1_000_000_000


class World:
    """A ledger of three events, and a view that follows it under a lease."""

    def __init__(self) -> None:
        self.ledger = NaiveLedger()
        self.token = self.ledger.issue("tenant:a")
        for _ in range(3):
            self.ledger.commit("suspend", ("tenant:b",))
        self.words = memoryview(bytearray((HEADER_WORDS + SLOTS) * 8)).cast("Q")
        table = Writer(self.words, instance=bytes(16), boot=bytes(16), slots=SLOTS)
        self.view = View(table, ring_capacity=RING)

    def reply(self, position: Position, payloads: tuple[bytes, ...] = ()) -> heartbeat.Reply:
        return heartbeat.Reply(
            instance=bytes(16),
            nonce=bytes(16),
            position=position,
            grant_term_ms=10_000,
            authority_us=0,
            payloads=payloads,
        )

    def renew(self, reply: heartbeat.Reply, *, carried: Position | None = None) -> Progress:
        return self.view.accept_lease(
            reply, carried=carried, sent_ns=NS_PER_S, received_ns=NS_PER_S
        )

    def state(self) -> object:
        return bytes(self.words), self.view.applied, self.view.leases.ends_ns


@pytest.fixture
def world() -> World:
    world = World()
    assert world.renew(world.reply(world.ledger.top)) == Current()
    assert world.view.leased(NS_PER_S)
    return world


def test_nothing_is_known_or_filled_before_the_first_lease() -> None:
    world = World()
    payload = messages.unsigned_record(world.ledger.record(world.token))
    assert world.view.fill(world.token.token_hash, payload) == Stale()
    assert world.view.find(world.token.token_hash) is None
    assert not world.view.leased(0)
    before = world.state()
    batch = events.Batch(EPOCH, 1, bytes(32), bytes(32), False, tuple(world.ledger.payloads))
    assert world.view.apply_push(batch) == Current()
    assert world.state() == before


def test_another_epoch_ends_the_instance(world: World) -> None:
    position = replace(world.ledger.top, epoch=EPOCH + 1)
    assert isinstance(world.renew(world.reply(position)), Diverged)


def test_another_head_at_our_position_ends_the_instance(world: World) -> None:
    position = replace(world.ledger.top, head=bytes(32))
    assert isinstance(world.renew(world.reply(position)), Diverged)


def test_a_reply_below_the_position_of_its_own_heartbeat_ends_the_instance(world: World) -> None:
    older = world.ledger.positions[2]
    assert isinstance(world.renew(world.reply(older), carried=world.ledger.top), Diverged)


def test_an_older_reply_that_a_push_overtook_has_no_effect(world: World) -> None:
    older = world.ledger.top
    world.ledger.commit("suspend", ("tenant:a",))
    reply = world.reply(world.ledger.top, world.ledger.after(older.seq, most=9))
    assert world.renew(reply, carried=older) == Current()
    assert world.renew(world.reply(older), carried=older) == Current()
    assert world.view.applied == world.ledger.top


def test_being_further_behind_than_the_ring_reaches_ends_the_instance(world: World) -> None:
    for _ in range(RING + 1):
        world.ledger.commit("suspend", ("tenant:a",))
    assert isinstance(world.renew(world.reply(world.ledger.top)), Diverged)


def test_a_lease_of_another_history_ends_the_instance_when_its_position_is_reached(
    world: World,
) -> None:
    event = world.ledger.top.seq + 1
    assert isinstance(world.renew(world.reply(Position(EPOCH, event, bytes(32)))), Behind)
    world.ledger.commit("suspend", ("tenant:a",))
    missing = heartbeat.Events(EPOCH, world.ledger.after(event - 1, most=1))
    assert isinstance(world.view.apply_repair(missing), Diverged)


@pytest.mark.parametrize("bad", [b"", b"garbage", events.encode(messages.EVENT)])
def test_one_bad_event_refuses_all_of_them_and_changes_nothing(world: World, bad: bytes) -> None:
    before, seq = world.state(), world.ledger.top.seq
    world.ledger.commit("suspend", ("tenant:a",))
    payloads = (*world.ledger.after(seq, most=1), bad)
    assert isinstance(world.view.apply_repair(heartbeat.Events(EPOCH, payloads)), RefusedMessage)
    assert isinstance(world.renew(world.reply(world.ledger.top, payloads)), RefusedMessage)
    assert world.state() == before


def test_events_of_another_epoch_are_refused_and_change_nothing(world: World) -> None:
    before = world.state()
    assert isinstance(world.view.apply_repair(heartbeat.Events(EPOCH + 1, ())), RefusedMessage)
    assert world.state() == before


def test_an_unknown_handle_with_an_unknown_effect_is_a_hit(world: World) -> None:
    token = world.ledger.issue("planet:mars")
    payload = messages.unsigned_record(world.ledger.record(token))
    held = world.view.fill(token.token_hash, payload)
    assert isinstance(held, CachedRecord)
    stamps, seq = world.view.table.stamps(held.slots), world.ledger.top.seq
    world.ledger.commit("banish", ("planet:mars",))
    missing = heartbeat.Events(EPOCH, world.ledger.after(seq, most=1))
    assert world.view.apply_repair(missing) == Current()
    assert world.view.find(token.token_hash) is None
    assert world.view.fill(token.token_hash, payload) == Stale()
    assert world.view.table.stamps(held.slots) != stamps


@pytest.mark.parametrize(
    "payload", [b"", b"garbage", messages.unsigned_record(messages.BARE_RECORD)]
)
def test_a_record_that_is_not_this_tokens_is_refused(world: World, payload: bytes) -> None:
    assert isinstance(world.view.fill(world.token.token_hash, payload), RefusedMessage)
    assert world.view.find(world.token.token_hash) is None


def test_a_record_of_another_epoch_is_stale(world: World) -> None:
    record = replace(world.ledger.record(world.token), epoch=EPOCH + 1)
    assert world.view.fill(world.token.token_hash, messages.unsigned_record(record)) == Stale()


def test_a_slow_fill_does_not_resurrect_a_revoked_token(world: World) -> None:
    slow = messages.unsigned_record(world.ledger.record(world.token))
    seq = world.ledger.top.seq
    world.ledger.commit("revoke", ("tenant:a",))
    missing = heartbeat.Events(EPOCH, world.ledger.after(seq, most=1))
    assert world.view.apply_repair(missing) == Current()
    assert world.view.fill(world.token.token_hash, slow) == Stale()
    fresh = messages.unsigned_record(world.ledger.record(world.token))
    held = world.view.fill(world.token.token_hash, fresh)
    assert isinstance(held, CachedRecord)
    assert not held.record.live
