"""The ports LeaseStore, Receipts and Terms."""

import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import Store, heartbeat, revocation

from rescind.core.ledger import Position
from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.ports.leases import Instance, LeaseRow, RefusedHeartbeat


@pytest.fixture
def instance() -> bytes:
    return secrets.token_bytes(16)


async def counts(store: Store, beat: Heartbeat) -> bool:
    """Send a heartbeat. Return True if it counted."""
    return beat.instance in (await store.leases.beat([beat])).counted


async def row(store: Store, instance: bytes) -> LeaseRow | None:
    """Read a lease row, as a waiter does."""
    return (await store.receipts.waiting()).rows.get(instance)


async def one_of_fleet(store: Store, instance: bytes) -> Instance:
    """Read the entry of an instance in the list of the fleet."""
    (found,) = [each for each in await store.leases.fleet() if each.instance == instance]
    return found


async def test_a_heartbeat_counts_once(store: Store, instance: bytes) -> None:
    beat = heartbeat(instance, 1)
    assert await counts(store, beat)
    assert not await counts(store, beat)
    assert not await counts(store, heartbeat(instance, 1))
    assert await counts(store, heartbeat(instance, 3))
    assert not await counts(store, heartbeat(instance, 2))


async def test_the_end_of_the_ledger_is_read_after_the_heartbeats_commit(
    store: Store, instance: bytes
) -> None:
    await store.commit(revocation("tenant:a"))
    tip = await store.ledger.tip()
    beaten = await store.leases.beat([heartbeat(instance, 1)])
    assert beaten.tip.position == tip.position
    assert beaten.tip.at_us >= tip.at_us


async def test_every_heartbeat_that_counts_changes_its_row(store: Store, instance: bytes) -> None:
    assert await row(store, instance) is None
    versions = list[int]()
    for counter in (1, 2, 7):
        assert await counts(store, heartbeat(instance, counter))
        seen = await row(store, instance)
        assert seen is not None
        versions.append(seen.version)
    assert versions == sorted(set(versions))
    await counts(store, heartbeat(instance, 3))
    seen = await row(store, instance)
    assert seen is not None
    assert seen.version == versions[-1]


async def test_an_applied_position_is_acknowledged_if_it_is_one_of_this_ledger(
    store: Store, instance: bytes
) -> None:
    (entry,) = await store.commit(revocation("tenant:a"))
    position = Position(entry.event.epoch, entry.event.seq, entry.head)
    forged = replace(position, seq=position.seq + 10, head=bytes(32))
    assert await counts(store, heartbeat(instance, 1, applied=forged))
    seen = await row(store, instance)
    assert seen is not None
    assert seen.acked_seq == 0
    assert await counts(store, heartbeat(instance, 2, applied=position))
    seen = await row(store, instance)
    assert seen is not None
    assert (seen.epoch, seen.acked_seq) == (position.epoch, position.seq)


async def test_a_refused_heartbeat_reports_why_it_did_not_count(
    store: Store, instance: bytes
) -> None:
    beat = heartbeat(instance, 5)
    assert await counts(store, beat)
    late, unknown = heartbeat(instance, 4), heartbeat(secrets.token_bytes(16), 1)
    answers = [(await store.leases.refuse([each]))[0] for each in (beat, late, unknown)]
    assert answers == [
        RefusedHeartbeat(5, over=False, repeated=True, shared=False),
        RefusedHeartbeat(5, over=False, repeated=False, shared=False),
        None,
    ]


async def test_two_heartbeats_with_one_counter_end_their_instance(
    store: Store, instance: bytes
) -> None:
    assert await counts(store, replace(heartbeat(instance, 5), trail=()))
    twin = replace(heartbeat(instance, 5), trail=())
    assert not await counts(store, twin)
    assert await store.leases.refuse([twin]) == [
        RefusedHeartbeat(5, over=True, repeated=False, shared=True)
    ]
    seen = await row(store, instance)
    assert seen is not None
    assert seen.shared
    assert not await counts(store, heartbeat(instance, 6))


async def test_a_release_is_final(store: Store, instance: bytes) -> None:
    assert await counts(store, heartbeat(instance, 1))
    await store.leases.release([Release(instance, 2)])
    seen = await row(store, instance)
    assert seen is not None
    assert seen.released
    late = heartbeat(instance, 3)
    assert not await counts(store, late)
    (refused,) = await store.leases.refuse([late])
    assert refused is not None
    assert refused.over


async def test_a_release_has_its_time_and_leaves_no_nonce(store: Store, instance: bytes) -> None:
    assert await counts(store, replace(heartbeat(instance, 1), trail=()))
    seen = await row(store, instance)
    assert seen is not None
    assert (seen.nonce is not None, seen.released_us) == (True, None)
    before_us = (await store.ledger.tip()).at_us
    await store.leases.release([Release(instance, 2)])
    seen = await row(store, instance)
    assert seen is not None
    assert seen.released_us is not None
    assert before_us <= seen.released_us <= (await store.ledger.tip()).at_us
    assert seen.nonce is None


async def test_a_release_before_any_heartbeat_is_final_too(store: Store, instance: bytes) -> None:
    await store.leases.release([Release(instance, 1)])
    assert not await counts(store, heartbeat(instance, 2))


async def test_a_row_is_deleted_only_if_it_is_unchanged_and_its_instance_then_ends(
    store: Store, instance: bytes
) -> None:
    assert await counts(store, heartbeat(instance, 1))
    seen = await row(store, instance)
    assert seen is not None
    assert await counts(store, heartbeat(instance, 2))
    await store.receipts.delete_ended({instance: seen.version})
    seen = await row(store, instance)
    assert seen is not None
    await store.receipts.delete_ended({instance: seen.version})
    assert await row(store, instance) is None
    late = heartbeat(instance, 3)
    assert not await counts(store, late)
    (refused,) = await store.leases.refuse([late])
    assert refused is not None
    assert refused.over


async def test_the_fleet_lists_each_instance_as_its_last_heartbeat_described_it(
    store: Store, instance: bytes
) -> None:
    position = (await store.ledger.tip()).position
    first = replace(heartbeat(instance, 1), posture="lenient", trust_serial=3)
    last = replace(heartbeat(instance, 2, applied=position), host="other", trust_serial=4)
    before_us = (await store.ledger.tip()).at_us
    for beat in (first, last):
        assert await counts(store, beat)
    listed = await one_of_fleet(store, instance)
    assert listed == Instance(
        instance=instance,
        service=last.service,
        host="other",
        version=last.version,
        posture="strict",
        epoch=position.epoch,
        applied_seq=position.seq,
        acked_seq=position.seq,
        first_seen_us=listed.first_seen_us,
        last_seen_us=listed.last_seen_us,
        released_at_us=None,
        trust_serial=4,
    )
    assert before_us <= listed.first_seen_us <= listed.last_seen_us


async def test_the_fleet_lists_a_released_instance_after_the_others(
    store: Store, instance: bytes
) -> None:
    other = secrets.token_bytes(16)
    for each in (instance, other):
        assert await counts(store, heartbeat(each, 1))
    await store.leases.release([Release(instance, 2)])
    listed = [each.instance for each in await store.leases.fleet()]
    assert listed.index(other) < listed.index(instance)
    assert (await one_of_fleet(store, instance)).released_at_us is not None


async def test_an_unknown_grace_is_settled_for_its_epoch_alone(store: Store) -> None:
    epoch = (await store.ledger.tip()).position.epoch
    for each in (epoch + 1, epoch):
        await store.receipts.settle_epoch(each)
    assert (await store.receipts.waiting()).unknown_grace_ms is None


async def test_a_wait_reads_the_ledgers_end_the_term_and_its_own_revocation(store: Store) -> None:
    (entry,) = await store.commit(revocation("tenant:a"))
    event = entry.event
    snapshot = await store.receipts.waiting(event.revocation.revocation_id)
    assert snapshot.last_event == (event.epoch, event.seq)
    assert (snapshot.epoch, snapshot.seq) == (event.epoch, event.seq)
    assert snapshot.wait_term_ms == (await store.terms.get()).wait_ms
    assert (await store.receipts.waiting(f"rev_{secrets.token_hex(13)}")).last_event is None


async def test_the_receipt_that_was_stored_first_is_never_replaced(store: Store) -> None:
    (entry,) = await store.commit(revocation("tenant:a"))
    name = entry.event.revocation.revocation_id
    assert await store.receipts.get(name) is None
    for envelope in (b"first", b"second"):
        kept = await store.receipts.keep(
            name, enforced_at_us=1, envelope=envelope, chunks=[b"one", b"two", b"three"]
        )
        assert kept == b"first"
    assert await store.receipts.get(name) == b"first"
    assert await store.receipts.details(name, range(1, 3)) == (b"two", b"three")
    assert await store.receipts.details(name, range(3, 9)) == ()


async def test_an_unknown_revocation_gets_no_receipt(store: Store) -> None:
    name = revocation("tenant:a").revocation_id
    assert await store.receipts.keep(name, enforced_at_us=1, envelope=b"x") is None
    assert await store.receipts.get(name) is None


async def test_requesting_a_term_does_not_change_the_current_term(store: Store) -> None:
    before = await store.terms.get()
    asked = await store.terms.set_target(before.grant_ms + 1_000, actor="test")
    assert (asked.grant_ms, asked.wait_ms) == (before.grant_ms, before.wait_ms)
    assert asked.target_ms == before.grant_ms + 1_000
    assert asked.version > before.version
    assert await store.terms.get() == asked


async def test_terms_move_only_from_the_version_that_was_read(store: Store) -> None:
    before = await store.terms.get()
    longer = before.wait_ms + 1_000
    assert not await store.terms.move(before.version - 1, grant_ms=longer, wait_ms=longer)
    assert await store.terms.get() == before
    assert await store.terms.move(before.version, grant_ms=before.grant_ms, wait_ms=longer)
    after = await store.terms.get()
    assert (after.grant_ms, after.wait_ms) == (before.grant_ms, longer)
    assert after.version > before.version
