"""Heartbeats over NATS: who gets a lease, at which position, with which events."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from tests.support.authority import System, serving
from tests.support.eventually import eventually
from tests.support.rows import guard

from rescind.core import ledger
from rescind.core.ledger import Position
from rescind.errors import MalformedMessageError
from rescind.wire import events, heartbeat, nats_subjects
from rescind.wire.heartbeat import Heartbeat, Release, Reply
from rescind_authority.errors import StoreRefusedError, StoreUnavailableError
from rescind_authority.operator import bootstrap
from rescind_authority.ports.ledger import EventRange, LedgerTip
from rescind_authority.postgres import leases, pool, queries
from rescind_authority.postgres.leases import PostgresLeases
from rescind_authority.postgres.pool import Borrowed
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.usecases.leases.grant import Granter
from rescind_authority.usecases.ledger.recent_events import RecentEvents
from rescind_runtime.clock import SystemClock

_ROW = "SELECT counter, acked_seq, applied_seq, row_version, released_at FROM leases"


async def test_a_new_sidecar_starts_at_the_end_of_the_ledger(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        await authority.revoke("tenant:t")
        reply = await sidecar.beat()
        assert reply is not None
        head = (await system.rows("SELECT head FROM ledger_head"))[0]["head"]
        assert reply.position == Position(1, 1, head)
        assert reply.payloads == ()  # no sidecar replays the ledger from the beginning
        assert reply.grant_term_ms == system.settings.term_ms
        now_us = (await system.rows("SELECT extract(epoch FROM now()) * 1e6 AS us"))[0]["us"]
        assert abs(reply.authority_us - now_us) < 60_000_000


async def test_a_reply_brings_missed_events_and_the_next_heartbeat_acknowledges_them(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        sidecar.applied = _granted(await sidecar.beat()).position
        for number in range(3):
            await authority.revoke(f"tenant:{number}")
        reply = _granted(await sidecar.beat())
        assert len(reply.payloads) == 3
        assert ledger.replay(sidecar.applied, reply.payloads) == reply.position
        assert (await system.rows(_ROW))[0]["acked_seq"] == 0
        sidecar.applied = reply.position
        assert _granted(await sidecar.beat()).payloads == ()
        assert (await system.rows(_ROW))[0]["acked_seq"] == 3


async def test_a_sidecar_far_behind_gets_256_events_at_a_time(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        sidecar.applied = _granted(await sidecar.beat()).position
        async with asyncio.TaskGroup() as tasks:
            for number in range(300):
                tasks.create_task(authority.revoke(f"tenant:{number}"))
        reply = _granted(await sidecar.beat())
        assert (reply.position.seq, len(reply.payloads)) == (300, events.MAX_EVENTS)
        sidecar.applied = ledger.replay(sidecar.applied, reply.payloads)
        rest = await sidecar.since(sidecar.applied.seq)
        assert ledger.replay(sidecar.applied, rest.payloads) == reply.position


async def test_missing_events_that_are_not_in_memory_are_read_from_postgres(system: System) -> None:
    async with serving(system) as authority:
        for number in range(3):
            await authority.revoke(f"tenant:{number}")
    # Another authority has just started: it remembers nothing.
    async with serving(system), system.sidecar() as sidecar:
        sidecar.applied = ledger.genesis(1)
        reply = _granted(await sidecar.beat())
        assert ledger.replay(sidecar.applied, reply.payloads) == reply.position
        assert len((await sidecar.since(1)).payloads) == 2
        assert (await sidecar.since(3)).payloads == ()
        assert await sidecar.since(1, epoch=7) == dataclasses.replace(
            await sidecar.since(3), epoch=1
        )


async def test_a_stale_counter_changes_nothing_and_gets_no_lease(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        await sidecar.beat(counter=5, nonce=b"n" * 16)
        before = await system.rows(_ROW)
        for stale in (4, 0):
            assert await sidecar.beat(counter=stale) is None
        assert await sidecar.beat(counter=5, nonce=b"n" * 16) is None  # the same, once more
        assert await system.rows(_ROW) == before
        assert await sidecar.beat(counter=6) is not None
        assert (await system.rows(_ROW))[0]["row_version"] == before[0]["row_version"] + 1


async def test_the_newest_of_several_heartbeats_of_an_instance_in_a_batch_counts(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)
    async with granting(system) as granter, asyncio.TaskGroup() as tasks:
        replies = [tasks.create_task(granter.answer(_beat(counter))) for counter in (1, 3, 2)]
    assert [reply.result() is not None for reply in replies] == [False, True, False]
    assert (await system.rows(_ROW))[0]["counter"] == 3


async def test_a_released_instance_never_gets_a_lease_again(system: System) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        await sidecar.beat()
        assert await sidecar.release() == b""
        assert await sidecar.beat() is None
        assert await sidecar.beat(counter=1 << 62) is None
        pruned = (await authority.http.get("/v1/fleet")).json()
        assert (pruned["instances"], pruned["ended"]) == ([], 1)
        fleet = (await authority.http.get("/v1/fleet", params={"ended": "true"})).json()
        assert [each["state"] for each in fleet["instances"]] == ["released"]
        assert fleet["instances"][0]["service"] == "search"
        assert fleet["instances"][0]["lease_left_ms"] == 0


async def test_a_row_created_again_after_a_sweep_has_a_version_that_was_never_watched(
    system: System,
) -> None:
    async with serving(system), system.sidecar() as sidecar:
        await sidecar.beat()
        (watched,) = await system.rows(_ROW)
        await system.rows(
            "DELETE FROM leases"
        )  # as queries/delete_ended_leases.sql, by another authority
        await sidecar.beat()
        (back,) = await system.rows(_ROW)
        assert back["row_version"] > watched["row_version"]


async def test_a_release_that_overtook_its_heartbeat_is_final_too(system: System) -> None:
    async with serving(system), system.sidecar() as sidecar:
        await sidecar.release()
        assert await sidecar.beat() is None


async def test_a_release_and_a_heartbeat_in_one_batch_release_the_instance(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with granting(system) as granter, asyncio.TaskGroup() as tasks:
        beat = tasks.create_task(granter.answer(_beat(2)))
        release = tasks.create_task(granter.answer(Release(bytes(16), 1)))
    assert (beat.result(), release.result()) == (None, None)


@pytest.mark.parametrize("wrong", ["head", "epoch", "seq"])
async def test_a_position_that_is_not_in_the_ledger_does_not_count_as_an_acknowledgement(
    system: System, wrong: str
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        await authority.revoke("tenant:t")
        good = _granted(await sidecar.beat()).position
        bad: Any = {"head": bytes(32), "epoch": 2, "seq": 9}[wrong]
        sidecar.applied = dataclasses.replace(good, **{wrong: bad})
        assert await sidecar.beat() is not None
        assert (await system.rows(_ROW))[0]["acked_seq"] == 0
        sidecar.applied = good
        await sidecar.beat()
        assert (await system.rows(_ROW))[0]["acked_seq"] == 1


async def test_the_lease_rows_are_committed_before_the_ledger_s_end_is_read(
    system: System,
) -> None:
    """G1 before G2 (design 7): a commit after G2 finds the row."""
    await bootstrap.prepare(system.settings)
    seen: list[int] = []

    class RowCountingLeases(PostgresLeases):
        async def _read_end(self, connection: Borrowed) -> Sequence[asyncpg.Record]:
            # Another session sees the row, so it is committed, and not only written.
            seen.append(len(await system.rows("SELECT FROM leases")))
            return await super()._read_end(connection)

    async with granting(system, RowCountingLeases) as granter:
        assert await granter.answer(_beat(1)) is not None
    assert seen == [1]


async def test_the_ledger_s_end_is_read_on_the_connection_that_committed_the_rows(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two servers one may be an old primary that still answers (G1 and G2, design 7)."""
    await bootstrap.prepare(system.settings)
    used: list[tuple[str, int]] = []

    async def noting(connection: Borrowed, query: str, *arguments: object) -> Any:
        used.append((query, connection.get_server_pid()))
        return await pool.rows(connection, query, *arguments)

    monkeypatch.setattr(leases, "rows", noting)
    async with granting(system) as granter, asyncio.TaskGroup() as tasks:
        for number in range(20):
            tasks.create_task(granter.answer(_beat(1, instance=number.to_bytes(16))))
            await asyncio.sleep(0)
    assert [query for query, _ in used] == ["beat", "ledger_tip"] * (len(used) // 2)
    assert [pid for _, pid in used[::2]] == [pid for _, pid in used[1::2]]


async def test_no_lease_is_granted_if_a_pooler_changes_the_server_between_commit_and_read(
    system: System,
) -> None:
    await bootstrap.prepare(system.settings)

    class SwitchingLeases(PostgresLeases):
        async def _read_end(self, connection: Borrowed) -> Sequence[asyncpg.Record]:
            # A second server is more than this needs: what tells two apart is one column.
            sql = queries.read("ledger_tip").replace(
                "pg_postmaster_start_time()", "pg_postmaster_start_time() - interval '1 us'"
            )
            return await connection.fetch(sql)

    async with granting(system, SwitchingLeases) as granter:
        with pytest.raises(StoreUnavailableError, match="pooler"):
            await granter.answer(_beat(1))


async def test_a_standby_grants_nothing(system: System) -> None:
    await bootstrap.prepare(system.settings)

    class StandbyLeases(PostgresLeases):
        async def _read_end(self, connection: Borrowed) -> Sequence[asyncpg.Record]:
            # A second server is more than this needs: the answer of a standby is one column.
            sql = queries.read("ledger_tip").replace("pg_is_in_recovery()", "true")
            return await connection.fetch(sql)

    async with granting(system, StandbyLeases) as granter:
        with pytest.raises(StoreUnavailableError, match="standby"):
            await granter.answer(_beat(1))


async def test_a_heartbeat_that_no_row_can_store_is_refused_alone(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with granting(system) as granter:
        for bad in (
            dataclasses.replace(_beat(1), counter=(1 << 62) + 1),
            dataclasses.replace(_beat(1), service="a\0"),
            dataclasses.replace(_beat(1), host="x" * 257),
            dataclasses.replace(_beat(1), applied=Position(1, (1 << 62) + 1, bytes(32))),
        ):
            with pytest.raises(MalformedMessageError):
                await granter.answer(bad)
        assert await granter.answer(_beat(1)) is not None


async def test_a_row_at_its_highest_version_refuses_only_its_own_messages(system: System) -> None:
    # An authority before this one let counters grow to the end of bigint.
    await bootstrap.prepare(system.settings)
    full = [(1000 + number).to_bytes(16) for number in range(3)]
    async with granting(system) as granter:
        for instance in full:
            await granter.answer(_beat(1, instance=instance))
        await system.rows("UPDATE leases SET row_version = $1", (1 << 63) - 1)
        async with asyncio.TaskGroup() as tasks:
            good = [
                tasks.create_task(granter.answer(_beat(2, instance=number.to_bytes(16))))
                for number in range(1, 40)
            ]
            releases = [granter.answer(Release(instance, 5)) for instance in full]
            refused = [tasks.create_task(_refused(release)) for release in releases]
    assert all(isinstance(each.result(), Reply) for each in good)
    assert [each.result() for each in refused] == [True] * 3


async def _refused(answer: Awaitable[object]) -> bool:
    try:
        await answer
    except StoreRefusedError:
        return True
    return False


async def test_many_sidecars_share_a_statement(system: System) -> None:
    await bootstrap.prepare(system.settings)
    async with granting(system) as granter, asyncio.TaskGroup() as tasks:
        replies = [
            tasks.create_task(granter.answer(_beat(1, instance=number.to_bytes(16))))
            for number in range(1, 701)
        ]
    assert all(reply.result() is not None for reply in replies)
    assert granter.leases == 700


@pytest.mark.parametrize(
    "subject", [nats_subjects.HEARTBEAT, nats_subjects.RESOLVE, nats_subjects.SINCE]
)
async def test_a_malformed_request_gets_an_empty_reply(system: System, subject: str) -> None:
    async with serving(system), system.sidecar() as sidecar:
        for junk in (b"", b"junk", b"\x91\x01", b"\xc1" * 100):
            assert await sidecar.ask(subject, junk) == b""
        assert await sidecar.beat() is not None


async def test_the_fleet_shows_how_far_behind_each_sidecar_is(system: System) -> None:
    async with serving(system) as authority, system.sidecar("a") as one, system.sidecar("b") as two:
        one.applied = _granted(await one.beat()).position
        await two.beat()
        await authority.revoke("tenant:t")
        await authority.revoke("tenant:t")
        one.applied = _granted(await one.beat()).position
        await one.beat()
        fleet = (await authority.http.get("/v1/fleet")).json()
        assert (fleet["epoch"], fleet["seq"]) == (1, 2)
        left_ms = [each["lease_left_ms"] for each in fleet["instances"]]
        assert all(0 < each <= fleet["grant_term_ms"] for each in left_ms)
        assert [
            (each["service"], each["state"], each["acked_seq"], each["lag"])
            for each in fleet["instances"]
        ] == [("a", "live", 2, 0), ("b", "live", 0, 2)]
        assert await authority.metric("rescind_authority_leases ") == 2


async def test_the_lag_in_the_fleet_counts_acknowledgements_since_the_last_heartbeat(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        sidecar.applied = _granted(await sidecar.beat()).position
        await sidecar.beat()
        done = await authority.revoke("tenant:t")
        (event,) = await system.rows("SELECT head FROM events WHERE seq = $1", done["seq"])
        applied = Position(1, done["seq"], event["head"])
        ack = heartbeat.encode_ack(heartbeat.Ack(sidecar.instance, sidecar.counter + 1, applied))
        await sidecar.nats.publish(nats_subjects.ACK, sidecar.spoken(ack))

        async def lag() -> list[int]:
            fleet = (await authority.http.get("/v1/fleet")).json()
            return [each["lag"] for each in fleet["instances"]]

        assert await eventually(lag, until=lambda found: found == [0])


def _granted(reply: Reply | None) -> Reply:
    assert reply is not None
    return reply


def _beat(counter: int, *, instance: bytes = bytes(16)) -> Heartbeat:
    return Heartbeat(instance, bytes(16), counter, None, "search", "host", "0.1.0", "strict")


class UnusedLedger:
    """A ledger for recent events that are never requested."""

    async def tip(self) -> LedgerTip:
        """Fail."""
        raise NotImplementedError

    async def after(self, seq: int, *, limit: int) -> EventRange:
        """Fail."""
        raise NotImplementedError


@asynccontextmanager
async def granting(
    system: System, leases_kind: type[PostgresLeases] = PostgresLeases
) -> AsyncIterator[Granter]:
    """Run a Granter on a prepared database, without NATS."""
    async with pool.connect(system.dsn) as postgres, asyncio.TaskGroup() as tasks:
        leases = leases_kind(postgres, guard(system.settings))
        granter = Granter(
            leases,
            recent=RecentEvents(UnusedLedger(), clock=SystemClock()),
            clock=SystemClock(),
            metrics=PrometheusMetrics(),
        )
        job = tasks.create_task(granter.run())
        yield granter
        job.cancel()
