"""Only a heartbeat that moved its row gets a lease: a waiter may watch that row stand still."""

import asyncio
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
import structlog.testing
from tests.support import virtual_time
from tests.support.postgres_in_memory import Cluster, PostgresInMemory, Tables, begun

from rescind.core import ledger
from rescind.core.ledger import Position
from rescind.wire.heartbeat import Heartbeat, NoLease, Release, Reply
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.clock import SystemClock

A, B = b"a" * 16, b"b" * 16
_NEVER_KEPT = b"n" * 16


@pytest.fixture
def caught() -> Iterator[list[MutableMapping[str, Any]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def beat(
    instance: bytes,
    counter: int,
    *,
    nonce: int = 0,
    applied: Position | None = None,
    trail: tuple[bytes, ...] | None = None,
) -> Heartbeat:
    return Heartbeat(
        instance=instance,
        nonce=nonce.to_bytes(16),
        counter=counter,
        applied=applied,
        trail=trail,
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
        granter = Granter(
            postgres,
            recent=RecentEvents(postgres, clock=SystemClock()),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
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


def test_each_heartbeat_that_counts_gets_a_lease() -> None:
    granted, _ = answers([beat(A, 1), beat(B, 1)], [beat(A, 2)])
    assert granted == [[True, True], [True]]


@pytest.mark.parametrize(("stale", "nonce"), [(5, 0), (4, 1), (0, 1)])
def test_a_stale_counter_gets_no_lease_and_changes_no_row(stale: int, nonce: int) -> None:
    kept = answers([beat(A, 5)])[1].leases[A]
    granted, tables = answers([beat(A, 5)], [beat(A, stale, nonce=nonce)])
    assert granted == [[True], [False]]
    assert tables.leases[A] == kept


def test_a_used_counter_with_another_nonce_comes_from_a_copy_and_ends_the_id() -> None:
    granted, tables = answers([beat(A, 5)], [beat(A, 5, nonce=1)], [beat(A, 6)])
    assert granted == [[True], [False], [False]]
    assert tables.leases[A].shared
    assert not tables.leases[A].released


def test_a_stale_heartbeat_in_a_batch_does_not_cost_the_others_their_leases() -> None:
    granted, _ = answers([beat(A, 5)], [beat(A, 5, nonce=1), beat(B, 1)])
    assert granted == [[True], [False, True]]


def test_only_the_newest_of_an_instances_heartbeats_in_a_batch_gets_a_lease() -> None:
    granted, _ = answers([beat(A, 1), beat(A, 3), beat(A, 2)])
    assert granted == [[False, True, False]]


def test_a_heartbeat_that_comes_twice_in_a_batch_gets_one_lease() -> None:
    granted, _ = answers([beat(A, 1), beat(A, 1, nonce=1)])
    assert granted == [[True, False]]


@pytest.mark.parametrize("counter", [2, 3, 100])
def test_a_released_instance_never_gets_a_lease_again(counter: int) -> None:
    granted, tables = answers([beat(A, 1)], [Release(A, 2)], [beat(A, counter)])
    assert granted == [[True], [False], [False]]
    assert tables.leases[A].released


@pytest.mark.parametrize("release_first", [True, False])
def test_an_instance_that_releases_in_a_batch_gets_no_lease_in_it_in_either_order(
    release_first: bool,
) -> None:
    batch: list[Heartbeat | Release] = [Release(A, 2), beat(A, 3)]
    granted, tables = answers([beat(A, 1)], batch if release_first else batch[::-1])
    assert granted == [[True], [False, False]]
    assert tables.leases[A].released


def test_the_release_of_an_instance_without_a_row_is_final_too() -> None:
    granted, tables = answers([Release(A, 1)], [beat(A, 2), beat(B, 1)])
    assert granted == [[False], [False, True]]
    assert tables.leases[A].released


@pytest.mark.parametrize("applied", [Position(1, 7, b"h" * 32), Position(1, 0, b"h" * 32)])
def test_a_sidecar_ahead_of_a_restored_ledger_is_reported_and_not_mistaken_for_a_copy(
    applied: Position, caught: list[MutableMapping[str, Any]]
) -> None:
    """Its row in the backup is older than the nonces that it still names."""
    before = beat(A, 5, nonce=5, trail=())
    granted, _ = answers([before], [beat(A, 90, nonce=90, applied=applied, trail=(_NEVER_KEPT,))])
    assert granted == [[True], [False]]
    assert [each["action"] for each in caught if each["log_level"] == "error"] == [
        "ledger.set_back"
    ]


@pytest.mark.parametrize("applied", [None, Position(2, 7, b"h" * 32), ledger.genesis(1)])
def test_a_copy_that_is_not_ahead_is_reported_as_one(
    applied: Position | None, caught: list[MutableMapping[str, Any]]
) -> None:
    before = beat(A, 5, nonce=5, trail=())
    granted, tables = answers(
        [before], [beat(A, 90, nonce=90, applied=applied, trail=(_NEVER_KEPT,))]
    )
    assert granted == [[True], [False]]
    assert tables.leases[A].shared
    assert [each["action"] for each in caught if each["log_level"] == "error"] == ["sidecar.shared"]
