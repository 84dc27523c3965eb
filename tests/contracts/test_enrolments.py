"""The port Enrolments.

That an instance has no place after a silence takes more than a minute, and stays a test of Postgres
alone (`tests/integration/authority/test_fleet_membership.py`).
"""

import secrets
from dataclasses import replace

import pytest
from tests.contracts.store import Store, heartbeat, new_token

from rescind.wire.heartbeat import Release
from rescind_authority.ports.enrolments import Binding, EnrolledInstance, Enrolment, NoPlace

ROOM = {"most": 100, "most_begun": 100}


@pytest.fixture
def instance() -> bytes:
    return secrets.token_bytes(16)


@pytest.fixture
def enrolment(instance: bytes) -> Enrolment:
    return Enrolment(instance, f"tok_{secrets.token_hex(13)}", "search", "strict")


async def test_an_instance_is_known_as_it_enrolled(store: Store, enrolment: Enrolment) -> None:
    unknown = secrets.token_bytes(16)
    assert await store.enrolments.enrol(enrolment, **ROOM) is None
    assert await store.enrolments.read([enrolment.instance, unknown]) == {
        enrolment.instance: EnrolledInstance(enrolment)
    }


async def test_a_credential_enrols_no_more_instances_than_its_limit(
    store: Store, enrolment: Enrolment
) -> None:
    others = [replace(enrolment, instance=secrets.token_bytes(16)) for _ in range(2)]
    for each in others:
        assert await store.enrolments.enrol(each, most=2, most_begun=100) is None
    refused = await store.enrolments.enrol(enrolment, most=2, most_begun=100)
    assert refused is not None
    assert (refused.evicted, refused.placed) == (None, 2)
    assert await store.enrolments.read([enrolment.instance]) == {}
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
    known = await store.enrolments.read([enrolment.instance])
    assert known[enrolment.instance].evicted == "stolen"
    refused = await store.enrolments.enrol(enrolment, **ROOM)
    assert isinstance(refused, NoPlace)
    assert refused.evicted == "stolen"


async def test_an_unknown_instance_cannot_be_evicted(store: Store, instance: bytes) -> None:
    assert await store.enrolments.evict(instance, why="stolen", actor="test") is None
    assert await store.enrolments.read([instance]) == {}


async def test_evicting_an_instance_marks_its_lease_row_as_shared(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    await store.leases.beat([heartbeat(enrolment.instance, 1)])
    await store.enrolments.evict(enrolment.instance, why="stolen", actor="test")
    assert (await store.receipts.waiting()).rows[enrolment.instance].shared


async def test_an_instance_enrols_again_with_another_credential(
    store: Store, enrolment: Enrolment
) -> None:
    moved = replace(enrolment, credential=f"tok_{secrets.token_hex(13)}", posture=None)
    assert await store.enrolments.enrol(enrolment, **ROOM) is None
    assert await store.enrolments.enrol(moved, **ROOM) is None
    known = await store.enrolments.read([enrolment.instance])
    assert known == {enrolment.instance: EnrolledInstance(moved)}


async def test_an_instance_without_a_lease_counts_as_placed_and_not_as_begun(
    store: Store, enrolment: Enrolment
) -> None:
    silent, begun = (replace(enrolment, instance=secrets.token_bytes(16)) for _ in range(2))
    for each in (silent, begun):
        assert await store.enrolments.enrol(each, **ROOM) is None
    await store.leases.beat([heartbeat(begun.instance, 1)])
    refused = await store.enrolments.enrol(enrolment, most=100, most_begun=1)
    assert refused == NoPlace(None, placed=2, begun=1)
    assert await store.enrolments.enrol(enrolment, most=100, most_begun=2) is None


async def test_a_released_instance_leaves_its_place_and_stays_counted_as_begun(
    store: Store, enrolment: Enrolment
) -> None:
    other = replace(enrolment, instance=secrets.token_bytes(16))
    assert await store.enrolments.enrol(other, **ROOM) is None
    await store.leases.beat([heartbeat(other.instance, 1)])
    await store.leases.release([Release(other.instance, 2)])
    refused = await store.enrolments.enrol(enrolment, most=1, most_begun=1)
    assert refused == NoPlace(None, placed=0, begun=1)
    assert await store.enrolments.enrol(enrolment, most=1, most_begun=2) is None


async def test_an_evicted_instance_leaves_its_place_to_another(
    store: Store, enrolment: Enrolment
) -> None:
    other = replace(enrolment, instance=secrets.token_bytes(16))
    assert await store.enrolments.enrol(other, **ROOM) is None
    await store.enrolments.evict(other.instance, why="stolen", actor="test")
    assert await store.enrolments.enrol(enrolment, most=1, most_begun=100) is None
    refused = await store.enrolments.enrol(other, **ROOM)
    assert refused == NoPlace("stolen", placed=1, begun=0)


async def test_a_second_eviction_does_not_replace_the_first(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    first = await store.enrolments.evict(enrolment.instance, why="stolen", actor="test")
    again = await store.enrolments.evict(enrolment.instance, why="lost", actor="other")
    assert first is not None
    assert again == first


async def test_an_administrators_reason_replaces_one_without_an_actor(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    whys = list[str]()
    for why, actor in (("contradiction", None), ("silence", None), ("stolen", "test")):
        evicted = await store.enrolments.evict(enrolment.instance, why=why, actor=actor)
        assert evicted is not None
        whys.append(evicted.why)
    assert whys == ["contradiction", "contradiction", "stolen"]


async def test_a_released_instance_has_no_lease_that_an_eviction_waits_for(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    await store.leases.beat([heartbeat(enrolment.instance, 1)])
    await store.leases.release([Release(enrolment.instance, 2)])
    evicted = await store.enrolments.evict(enrolment.instance, why="stolen", actor="test")
    assert evicted is not None
    assert evicted.lease_ends_at_us == evicted.at_us


async def test_an_instance_with_a_lease_alone_is_evicted_too(store: Store, instance: bytes) -> None:
    beat = heartbeat(instance, 1)
    await store.leases.beat([beat])
    evicted = await store.enrolments.evict(instance, why="stolen", actor="test")
    assert evicted is not None
    assert (evicted.service, evicted.why) == (beat.service, "stolen")
    (listed,) = [each for each in await store.leases.fleet() if each.instance == instance]
    assert (listed.credential, listed.evicted_why) == (None, "stolen")
    assert listed.evicted_at_us == evicted.at_us


async def test_the_fleet_names_the_credential_of_an_enrolled_instance(
    store: Store, enrolment: Enrolment
) -> None:
    await store.enrolments.enrol(enrolment, **ROOM)
    await store.leases.beat([heartbeat(enrolment.instance, 1)])
    (listed,) = [each for each in await store.leases.fleet() if each.instance == enrolment.instance]
    assert (listed.credential, listed.evicted_at_us) == (enrolment.credential, None)


async def test_a_credential_binds_as_it_was_issued(store: Store) -> None:
    free = new_token()
    bound = replace(new_token(), sidecars=Binding("lenient", 3))
    for token in (free, bound):
        await store.issue(token)
    found = [await store.enrolments.binding(each.grant.token_id) for each in (free, bound)]
    assert found == [Binding(), Binding("lenient", 3)]


async def test_an_unknown_credential_allows_no_sidecar(store: Store) -> None:
    unknown = new_token().grant.token_id
    assert await store.enrolments.binding(unknown) == Binding("strict", 0)
