"""The ports LeaseStore, Receipts, Terms and Enrolments."""

import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import Store, heartbeat, revocation

from rescind.core.ledger import Position
from rescind.wire.heartbeat import Heartbeat, Release
from rescind_authority.ports.enrolments import EnrolledInstance, Enrolment, NoPlace
from rescind_authority.ports.leases import LeaseRow, RefusedHeartbeat

ROOM = {"most": 100, "most_begun": 100}


@pytest.fixture
def instance() -> bytes:
    return secrets.token_bytes(16)


async def counts(store: Store, beat: Heartbeat) -> bool:
    """Send a heartbeat. Return True if it counted."""
    return beat.instance in (await store.leases.beat([beat])).counted


async def row(store: Store, instance: bytes) -> LeaseRow | None:
    """Read a lease row, as a waiter does."""
    return (await store.receipts.waiting()).rows.get(instance)


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
    versions = []
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


async def test_why_a_heartbeat_did_not_count(store: Store, instance: bytes) -> None:
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


async def test_a_release_before_any_heartbeat_is_final_too(store: Store, instance: bytes) -> None:
    await store.leases.release([Release(instance, 1)])
    assert not await counts(store, heartbeat(instance, 2))


async def test_a_row_is_swept_only_as_it_was_seen_and_its_instance_is_over(
    store: Store, instance: bytes
) -> None:
    assert await counts(store, heartbeat(instance, 1))
    seen = await row(store, instance)
    assert seen is not None
    assert await counts(store, heartbeat(instance, 2))
    await store.receipts.sweep({instance: seen.version})
    seen = await row(store, instance)
    assert seen is not None
    await store.receipts.sweep({instance: seen.version})
    assert await row(store, instance) is None
    late = heartbeat(instance, 3)
    assert not await counts(store, late)
    (refused,) = await store.leases.refuse([late])
    assert refused is not None
    assert refused.over


async def test_a_wait_reads_the_end_the_term_and_its_own_revocation(store: Store) -> None:
    (entry,) = await store.commit(revocation("tenant:a"))
    event = entry.event
    snapshot = await store.receipts.waiting(event.revocation.revocation_id)
    assert snapshot.held == (event.epoch, event.seq)
    assert (snapshot.epoch, snapshot.seq) == (event.epoch, event.seq)
    assert snapshot.wait_term_ms == (await store.terms.get()).wait_ms
    assert (await store.receipts.waiting(f"rev_{secrets.token_hex(13)}")).held is None


async def test_the_receipt_that_was_kept_first_stays(store: Store) -> None:
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


async def test_a_revocation_that_is_not_there_gets_no_receipt(store: Store) -> None:
    name = revocation("tenant:a").revocation_id
    assert await store.receipts.keep(name, enforced_at_us=1, envelope=b"x") is None
    assert await store.receipts.get(name) is None


async def test_a_term_that_is_asked_for_changes_no_term_yet(store: Store) -> None:
    before = await store.terms.get()
    asked = await store.terms.ask(before.grant_ms + 1_000, actor="test")
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


@pytest.fixture
def enrolment(instance: bytes) -> Enrolment:
    return Enrolment(instance, f"tok_{secrets.token_hex(13)}", "search", "strict")


async def test_an_instance_is_known_as_it_enrolled(store: Store, enrolment: Enrolment) -> None:
    unknown = secrets.token_bytes(16)
    assert await store.enrolments.enrol(enrolment, **ROOM) is None
    assert await store.enrolments.of([enrolment.instance, unknown]) == {
        enrolment.instance: EnrolledInstance(enrolment)
    }


async def test_a_credential_enrols_so_many_instances_and_not_more(
    store: Store, enrolment: Enrolment
) -> None:
    others = [replace(enrolment, instance=secrets.token_bytes(16)) for _ in range(2)]
    for each in others:
        assert await store.enrolments.enrol(each, most=2, most_begun=100) is None
    refused = await store.enrolments.enrol(enrolment, most=2, most_begun=100)
    assert refused is not None
    assert (refused.evicted, refused.placed) == (None, 2)
    assert await store.enrolments.of([enrolment.instance]) == {}
    assert await store.enrolments.enrol(others[0], most=2, most_begun=100) is None


async def test_an_instance_that_was_evicted_never_enrols_again(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    evicted = await store.enrolments.evict(enrolment.instance, why="stolen", actor="test")
    assert evicted is not None
    assert (evicted.service, evicted.why) == ("search", "stolen")
    term_us = (await store.terms.get()).wait_ms * 1_000
    assert evicted.lease_ends_at_us - evicted.at_us >= term_us
    known = await store.enrolments.of([enrolment.instance])
    assert known[enrolment.instance].evicted == "stolen"
    refused = await store.enrolments.enrol(enrolment, **ROOM)
    assert isinstance(refused, NoPlace)
    assert refused.evicted == "stolen"


async def test_an_instance_that_is_not_known_is_not_evicted(store: Store, instance: bytes) -> None:
    assert await store.enrolments.evict(instance, why="stolen", actor="test") is None
    assert await store.enrolments.of([instance]) == {}


async def test_who_was_evicted_speaks_for_nobody(store: Store, enrolment: Enrolment) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    assert await counts(store, heartbeat(enrolment.instance, 1))
    await store.enrolments.evict(enrolment.instance, why="stolen", actor="test")
    seen = await row(store, enrolment.instance)
    assert seen is not None
    assert seen.shared
