"""The ports SharedRecordWriter and SharedRecordReader: the second-level cache in Redis.

No reader trusts what it finds there. So an adapter may lose a record or return an older one, and
the use case over it never believes a wrong one.
"""

import asyncio
import os
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from redis.asyncio import Redis as RedisClient
from tests.simulation.authority import Redis as RedisInMemory
from tests.support.clocks import ManualClock
from tests.support.eventually import eventually
from tests.support.messages import EDGE_KEY, RECORD
from tests.support.outcomes import soon
from tests.support.sidecar import PEER, LedgerInMemory, now_us
from tests.support.tables import TablesInMemory

from rescind.core import token_format
from rescind.core.record import Record
from rescind.core.token_format import Kind
from rescind.wire import events, heartbeat, records, signed_envelope
from rescind_authority.ports.tokens import SharedRecordWriter
from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.redis.record_cache import RedisRecordWriter
from rescind_runtime.links import RedisLink
from rescind_runtime.net import redis_connection
from rescind_sidecar.ports import InstanceCredentials, SharedRecordReader
from rescind_sidecar.random_source import SystemRandomSource
from rescind_sidecar.redis import record_cache
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.stats.counters import Counters
from rescind_sidecar.trust_store import FreshKeys, UpdatingTrustStore
from rescind_sidecar.usecases.instance import SidecarInstance, SidecarInstances
from rescind_sidecar.usecases.lookup.fetch import Fetch
from rescind_sidecar.usecases.lookup.lookup_budgets import LookupBudgets, LookupLimits
from rescind_sidecar.view.view import View

NOW_US = RECORD.expires_at_us - 60_000_000
FOUND_IN_S = 0.1
PATIENCE_S = 10.0

GARBAGE = {
    "nothing": b"",
    "a byte": b"\x00",
    "half a message": b"\xdd\xff\xff\xff\xff",
    "too much": b"x" * 70_000,
}


@dataclass(frozen=True)
class SharedRecords:
    """A writer and a reader of the same cache, and what a third process may do to it."""

    writer: SharedRecordWriter
    reader: SharedRecordReader
    put: Callable[[int, bytes, bytes], Awaitable[object]]
    content: Callable[[], Awaitable[bytes]]

    def keep(self, record: Record, encoded: bytes, *, at_us: int = NOW_US) -> None:
        self.writer.keep(record, encoded, now_us=at_us)

    async def find(self, record: Record) -> bytes | None:
        """Look a record up, once."""
        return await self.reader.find(record.epoch, record.token_hash)

    async def found(self, record: Record) -> bytes:
        """Wait until a record is found: no writer waits until it is stored."""
        found = await eventually(partial(self.find, record))
        assert found is not None
        return found


Opened = Callable[[], AbstractAsyncContextManager[SharedRecords]]


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a look-up wait longer for Valkey: a busy machine would make it skip the cache."""
    patient = partial(redis_connection.connection, timeout_s=PATIENCE_S)
    monkeypatch.setattr(redis_connection, "connection", patient)
    monkeypatch.setattr(record_cache, "_DEADLINE_S", PATIENCE_S)


@pytest.fixture(params=["memory", "valkey"])
def opened(request: pytest.FixtureRequest, patience: None) -> Opened:
    """Return how to open the cache."""
    if request.param == "memory":
        return in_memory
    return partial(in_valkey, str(request.getfixturevalue("servers")["redis"]))


@asynccontextmanager
async def in_memory() -> AsyncGenerator[SharedRecords]:
    redis = RedisInMemory()
    kept = redis._kept

    async def put(epoch: int, token_hash: bytes, payload: bytes) -> None:
        kept[epoch, token_hash] = payload

    async def content() -> bytes:
        return repr(list(kept)).encode() + b"".join(kept.values())

    yield SharedRecords(redis, redis, put, content)


@asynccontextmanager
async def in_valkey(url: str) -> AsyncGenerator[SharedRecords]:
    writer, reader = RedisRecordWriter(RedisLink(url), PrometheusMetrics()), RedisRecordReader(url)
    async with RedisClient.from_url(url) as client:

        async def put(epoch: int, token_hash: bytes, payload: bytes) -> None:
            await client.set(records.key(epoch, token_hash), payload)

        async def content() -> bytes:
            stored = [key async for key in client.scan_iter()]
            values = [await client.get(key) for key in stored]
            return b"".join(cast("list[bytes]", [*stored, *values]))

        async with asyncio.TaskGroup() as tasks:
            jobs = [tasks.create_task(each.run()) for each in (writer, reader)]
            await until_connected(reader)
            yield SharedRecords(writer, reader, put, content)
            for job in jobs:
                job.cancel()


async def until_connected(reader: RedisRecordReader) -> None:
    async def connected() -> bool:
        return reader.connected

    await eventually(connected)


def a_record(*, ends_us: int = RECORD.expires_at_us) -> Record:
    """Return a record of a token that no other test has."""
    return replace(RECORD, token_hash=secrets.token_bytes(32), expires_at_us=ends_us)


def encoded(record: Record) -> bytes:
    return records.encode(record, signed_envelope.unsigned)


# On both adapters --------------------------------------------------------------------------------


async def test_a_record_that_was_kept_is_found_as_it_was(opened: Opened) -> None:
    record = a_record()
    async with opened() as shared:
        shared.keep(record, encoded(record))
        assert await shared.found(record) == encoded(record)


async def test_a_record_that_was_not_kept_is_not_found(opened: Opened) -> None:
    async with opened() as shared:
        assert await shared.find(a_record()) is None


async def test_a_record_is_found_by_its_hash_in_its_epoch_alone(opened: Opened) -> None:
    record = a_record()
    async with opened() as shared:
        shared.keep(record, encoded(record))
        await shared.found(record)
        assert await shared.find(replace(record, epoch=record.epoch + 1)) is None
        assert await shared.find(replace(record, token_hash=secrets.token_bytes(32))) is None


async def test_what_is_found_of_two_records_of_a_token_is_one_of_them(opened: Opened) -> None:
    older = a_record()
    newer = replace(older, as_of=older.as_of + 1)
    async with opened() as shared:
        for record in (older, newer):
            shared.keep(record, encoded(record))
        assert await shared.found(older) in {encoded(older), encoded(newer)}


async def test_a_record_that_has_ended_is_not_kept(opened: Opened) -> None:
    ended, later = a_record(), a_record()
    async with opened() as shared:
        shared.keep(ended, encoded(ended), at_us=ended.expires_at_us)
        shared.keep(later, encoded(later))
        await shared.found(later)
        assert await shared.find(ended) is None


async def test_each_of_many_look_ups_gets_its_own_record(opened: Opened) -> None:
    kept = [a_record() for _ in range(300)]
    async with opened() as shared:
        for record in kept:
            shared.keep(record, encoded(record))
        for record in kept:
            await shared.found(record)
        async with asyncio.TaskGroup() as tasks:
            looking = [tasks.create_task(shared.find(record)) for record in kept]
    assert [each.result() for each in looking] == [encoded(record) for record in kept]


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_broken_entry_is_returned_as_it_is_or_not_at_all(
    opened: Opened, garbage: bytes
) -> None:
    record = a_record()
    async with opened() as shared:
        await shared.put(record.epoch, record.token_hash, garbage)
        assert await shared.find(record) in {garbage, None}


async def test_no_token_and_no_secret_is_ever_stored(opened: Opened) -> None:
    token = token_format.mint(kind=Kind.AGENT, random=os.urandom(32), edge_key=EDGE_KEY).reveal()
    record = replace(RECORD, token_hash=token_format.digest(token))
    async with opened() as shared:
        shared.keep(record, encoded(record))
        await shared.found(record)
        content = await shared.content()
    assert record.token_id.encode() in content
    forbidden = (
        *(token.encode(), token.rpartition("_")[2].encode()),
        *(token_format.possession(token), token_format.possession_hash(token), EDGE_KEY),
    )
    for each in forbidden:
        assert each not in content
        assert each.hex().encode() not in content
    assert not token_format.contained(content.decode(errors="replace"))


# The use case over both --------------------------------------------------------------------------


class Sidecar:
    """The look-ups of a sidecar that holds a lease, and its ledger."""

    def __init__(self, reader: SharedRecordReader) -> None:
        self.link, self.tally = LedgerInMemory(), Counters()
        clock = ManualClock(now_ns=2_000_000_000)
        instances = SidecarInstances(TablesInMemory(), FreshKeys(), self.tally)
        self.view = View(TablesInMemory().begin(bytes(16)), ring_capacity=8)
        instances.current = SidecarInstance(
            bytes(16),
            FreshKeys().fresh(),
            self.view,
            credentials=InstanceCredentials(bytes(16), self.link.secret(bytes(16))),
        )
        reply = heartbeat.Reply(bytes(16), bytes(16), self.link.position, 10_000, now_us(), ())
        self.view.accept_lease(reply, carried=None, sent_ns=10**9, received_ns=10**9)
        self._fetch = Fetch(
            instances,
            self.link,
            UpdatingTrustStore(self.link.keyring.trust, wall_us=now_us),
            clock,
            self.tally,
            random_source=SystemRandomSource(),
            budgets=LookupBudgets(LookupLimits.of(1_000)),
            shared=reader,
        )

    async def live(self, token: str) -> bool:
        """Look a token up; return True if no revocation holds it."""
        assert await self._fetch.record(token, source=PEER, past_redis=False) is None
        held = self.view.find(token_format.digest(token))
        return held is not None and held.record.live


async def test_a_record_in_the_cache_saves_a_look_up(opened: Opened) -> None:
    async with opened() as shared:
        sidecar = Sidecar(shared.reader)
        token = sidecar.link.issue()
        await shared.put(1, token_format.digest(token), sidecar.link.encoded(token))
        assert await sidecar.live(token)
    assert (sidecar.tally.looks_at_redis, sidecar.link.resolved) == (1, 0)


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_a_broken_entry_costs_a_look_up_and_changes_no_answer(
    opened: Opened, garbage: bytes
) -> None:
    async with opened() as shared:
        sidecar = Sidecar(shared.reader)
        token = sidecar.link.issue()
        await shared.put(1, token_format.digest(token), garbage)
        assert await sidecar.live(token)
    assert (sidecar.tally.redis_refused, sidecar.link.resolved) == (1, 1)


async def test_a_stale_entry_costs_a_look_up_and_resurrects_no_token(opened: Opened) -> None:
    async with opened() as shared:
        sidecar = Sidecar(shared.reader)
        token = sidecar.link.issue("agent:x")
        await shared.put(1, token_format.digest(token), sidecar.link.encoded(token))
        sidecar.view.apply_push(events.decode_batch(sidecar.link.revoke("subject:agent:x")))
        assert not await sidecar.live(token)
    assert (sidecar.tally.redis_stale, sidecar.link.resolved) == (1, 1)


async def test_the_entry_of_another_token_is_refused(opened: Opened) -> None:
    async with opened() as shared:
        sidecar = Sidecar(shared.reader)
        token, other = sidecar.link.issue("agent:x"), sidecar.link.issue("agent:y")
        sidecar.view.apply_push(events.decode_batch(sidecar.link.revoke("subject:agent:x")))
        await shared.put(1, token_format.digest(token), sidecar.link.encoded(other))
        assert not await sidecar.live(token)
    assert (sidecar.tally.redis_refused, sidecar.link.resolved) == (1, 1)


# On Valkey alone ---------------------------------------------------------------------------------


async def test_a_record_stays_for_its_life_and_ten_minutes_at_most(
    servers: dict[str, object], patience: None
) -> None:
    url = str(servers["redis"])
    short = a_record(ends_us=NOW_US + 5_000_000)
    long = a_record(ends_us=NOW_US + 86_400_000_000)
    async with in_valkey(url) as shared, RedisClient.from_url(url) as client:
        for record, at_most_ms in ((short, 5_000), (long, records.MAX_TTL_MS)):
            shared.keep(record, encoded(record))
            await shared.found(record)
            left_ms = await client.pttl(records.key(record.epoch, record.token_hash))
            assert 0 < left_ms <= at_most_ms


async def test_a_value_of_another_type_is_not_found(
    servers: dict[str, object], patience: None
) -> None:
    url, record = str(servers["redis"]), a_record()
    async with in_valkey(url) as shared, RedisClient.from_url(url) as client:
        await client.lpush(records.key(record.epoch, record.token_hash), "a list")
        assert await shared.find(record) is None


async def test_a_reader_that_does_not_run_finds_nothing_and_waits_for_nothing(
    servers: dict[str, object],
) -> None:
    async with asyncio.timeout(FOUND_IN_S * 10):
        assert await RedisRecordReader(str(servers["redis"])).find(1, bytes(32)) is None


async def test_a_server_that_hangs_costs_a_look_up_its_deadline_and_the_next_ones_nothing(
    tmp_path: Path,
) -> None:
    asked, handlers = asyncio.Event(), list[asyncio.Task[None]]()

    async def answer(received: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler = asyncio.current_task()
        assert handler is not None
        handlers.append(handler)
        while command := await received.read(65_536):
            if b"MGET" in command:
                asked.set()
            elif b"HELLO" in command:
                writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
            else:
                writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_unix_server(answer, tmp_path / "redis.sock")
    reader = RedisRecordReader(f"unix://{tmp_path / 'redis.sock'}")
    async with server, asyncio.TaskGroup() as tasks:
        job = tasks.create_task(reader.run())
        await until_connected(reader)
        began_s = time.monotonic()
        first = await reader.find(1, bytes(32))
        took_s = time.monotonic() - began_s
        later = [await reader.find(1, bytes(32)) for _ in range(100)]
        job.cancel()
    await asyncio.wait(handlers)  # else a connection would be left open
    assert asked.is_set()
    assert {first, *later} == {None}
    soon(took_s, at_most_s=FOUND_IN_S + 0.2)


async def test_no_writer_waits_for_a_server_that_is_gone_and_lost_records_are_counted(
    tmp_path: Path,
) -> None:
    metrics, record = PrometheusMetrics(), a_record()
    writer = RedisRecordWriter(RedisLink(f"unix://{tmp_path / 'gone.sock'}"), metrics)
    for _ in range(5_000):  # more than its queue takes
        writer.keep(record, b"", now_us=NOW_US)
    lost = b'rescind_authority_shared_records_total{outcome="lost"}'
    (line,) = [each for each in metrics.render().splitlines() if each.startswith(lost)]
    assert float(line.split()[-1]) == 5_000 - 4_096
