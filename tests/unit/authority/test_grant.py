"""Only a heartbeat that moved its row gets a lease: a waiter may watch that row stand still."""

import asyncio
from collections.abc import Sequence

import pytest
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Tables, begun

from rescind.wire.heartbeat import Heartbeat, NoLease, Release, Reply
from rescind_authority.metrics import Metrics
from rescind_authority.usecases.grant import Granter
from rescind_authority.usecases.recent import Recent

A, B = b"a" * 16, b"b" * 16


def beat(instance: bytes, counter: int, *, nonce: int = 0) -> Heartbeat:
    return Heartbeat(
        instance=instance,
        nonce=nonce.to_bytes(16),
        counter=counter,
        applied=None,
        service="search",
        host="host",
        version="0",
        posture="strict",
    )


Messages = Sequence[Heartbeat | Release]


def answers(*batches: Messages) -> tuple[list[list[bool]], Tables]:
    """Answer these batches one after another; say which messages got a lease, and what is kept."""

    async def at_once() -> None:
        await asyncio.sleep(0)

    async def live() -> tuple[list[list[bool]], Tables]:
        cluster = Cluster(begun(term_ms=1_000, at_us=0), now_us=lambda: 0)
        postgres = PostgresInMemory(cluster, at_once)
        granter = Granter(postgres, recent=Recent(postgres), metrics=Metrics())
        granted: list[list[bool]] = []
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(granter.run())
            for batch in batches:
                asked = [tasks.create_task(granter.answer(message)) for message in batch]
                replies = [await each for each in asked]
                granted.append([_own(*pair) for pair in zip(batch, replies, strict=True)])
            running.cancel()
        return granted, cluster.tables

    return virtual_time.run(live())


def _own(message: Heartbeat | Release, reply: Reply | NoLease | None) -> bool:
    if not isinstance(reply, Reply):
        return False
    assert isinstance(message, Heartbeat)
    assert (reply.instance, reply.nonce) == (message.instance, message.nonce)
    return True


def test_each_heartbeat_that_counts_gets_a_lease():
    granted, _ = answers([beat(A, 1), beat(B, 1)], [beat(A, 2)])
    assert granted == [[True, True], [True]]


@pytest.mark.parametrize(("stale", "nonce"), [(5, 0), (4, 1), (0, 1)])
def test_a_stale_counter_gets_nothing_and_moves_no_row(stale: int, nonce: int):
    kept = answers([beat(A, 5)])[1].leases[A]
    granted, tables = answers([beat(A, 5)], [beat(A, stale, nonce=nonce)])
    assert granted == [[True], [False]]
    assert tables.leases[A] == kept


def test_one_counter_with_another_nonce_is_a_copys_and_ends_the_id():
    granted, tables = answers([beat(A, 5)], [beat(A, 5, nonce=1)], [beat(A, 6)])
    assert granted == [[True], [False], [False]]
    assert tables.leases[A].shared
    assert not tables.leases[A].released


def test_beside_a_stale_one_the_others_of_the_batch_get_theirs():
    granted, _ = answers([beat(A, 5)], [beat(A, 5, nonce=1), beat(B, 1)])
    assert granted == [[True], [False, True]]


def test_of_one_instances_heartbeats_in_a_batch_the_newest_alone_gets_a_lease():
    granted, _ = answers([beat(A, 1), beat(A, 3), beat(A, 2)])
    assert granted == [[False, True, False]]


def test_a_heartbeat_that_comes_twice_in_a_batch_gets_one_lease():
    granted, _ = answers([beat(A, 1), beat(A, 1, nonce=1)])
    assert granted == [[True, False]]


@pytest.mark.parametrize("counter", [2, 3, 100])
def test_a_released_instance_gets_nothing_ever_again(counter: int):
    granted, tables = answers([beat(A, 1)], [Release(A, 2)], [beat(A, counter)])
    assert granted == [[True], [False], [False]]
    assert tables.leases[A].released


@pytest.mark.parametrize("release_first", [True, False])
def test_who_releases_in_a_batch_gets_nothing_in_it_whatever_comes_first(release_first: bool):
    batch: list[Heartbeat | Release] = [Release(A, 2), beat(A, 3)]
    granted, tables = answers([beat(A, 1)], batch if release_first else batch[::-1])
    assert granted == [[True], [False, False]]
    assert tables.leases[A].released


def test_the_release_of_an_instance_without_a_row_is_final_too():
    granted, tables = answers([Release(A, 1)], [beat(A, 2), beat(B, 1)])
    assert granted == [[False], [False, True]]
    assert tables.leases[A].released
