"""What a sidecar remembers is bounded, whatever it is asked for."""

import asyncio
import os
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.support import messages

from rescind.core.conditions import Conditions
from rescind.core.generation_table import slots_of
from rescind.core.handles import EVERYTHING, Handle, Selector, select
from rescind.core.ledger import Position
from rescind.core.record import Record
from rescind.core.revocation import Restriction
from rescind.wire import records, signed_envelope
from rescind_sidecar.redis import record_cache as redis_records
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.view import negative_cache
from rescind_sidecar.view import ring as ring_module
from rescind_sidecar.view.negative_cache import NegativeCache
from rescind_sidecar.view.record_cache import BYTES_EACH, CachedRecord, RecordCache, Window, weight
from rescind_sidecar.view.ring import Ring

NOW_NS = 5_000_000_000
THIN = replace(messages.RECORD, restrictions=(), removed=())


def held(number: int) -> CachedRecord:
    token_hash = number.to_bytes(32)
    record = replace(THIN, token_hash=token_hash, token_id=f"tok_{number}")
    return CachedRecord(record, os.urandom(300), slots_of(record.handles, 64), record.as_of)


def test_memory_does_not_grow_with_distinct_tokens() -> None:
    records, strangers = RecordCache(capacity=500), NegativeCache(capacity=500)

    def see(first: int, last: int) -> int:
        for number in range(first, last):
            records.put(held(number))
            strangers.add(number.to_bytes(32), NOW_NS)
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = see(0, 4_000)
        later = see(4_000, 16_000)
    finally:
        tracemalloc.stop()
    assert (len(records), len(strangers)) == (500, 500)
    assert later < full * 1.05


def test_the_least_recently_used_record_is_dropped_first() -> None:
    records = RecordCache(capacity=2)
    for number in (1, 2):
        records.put(held(number))
    records.get((1).to_bytes(32))
    records.put(held(3))
    assert [records.get(number.to_bytes(32)) is not None for number in (1, 2, 3)] == [
        True,
        False,
        True,
    ]


def test_an_unknown_token_is_forgotten_after_its_time_and_not_before() -> None:
    strangers = NegativeCache()
    strangers.add(b"a", NOW_NS)
    assert strangers.has(b"a", NOW_NS + negative_cache.FOR_NS - 1)
    assert not strangers.has(b"b", NOW_NS)
    assert not strangers.has(b"a", NOW_NS + negative_cache.FOR_NS)
    assert len(strangers) == 0


def test_beyond_the_bound_the_unknown_token_that_was_remembered_first_is_dropped() -> None:
    strangers = NegativeCache(capacity=2)
    for token_hash in (b"a", b"b", b"a", b"c"):
        strangers.add(token_hash, NOW_NS)
    assert [strangers.has(token_hash, NOW_NS) for token_hash in (b"a", b"b", b"c")] == [
        True,
        False,
        True,
    ]


HANDLES = tuple(Handle(f"label:key-{number:03}={'v' * 180}") for number in range(40))
SHAPES = {
    "thin": THIN,
    "many handles": replace(THIN, handles=(EVERYTHING, *HANDLES)),
    "long handles": replace(
        THIN,
        handles=(
            EVERYTHING,
            *(Handle(f"label:{number}=" + "\U0001f511" * 60) for number in range(32)),
        ),
        labels=tuple((str(number), "\U0001f511" * 60) for number in range(32)),
    ),
    "many scopes": replace(
        THIN, granted=frozenset(f"tools:call:service-{number:03}:*" for number in range(64))
    ),
    "many services": replace(
        THIN, audience=frozenset(f"service-{number:03}" + "s" * 200 for number in range(64))
    ),
    "many ancestors": replace(
        THIN,
        lineage=tuple(f"tok_{number:026}" for number in range(16)),
        chain=tuple("agent:" + "/".join(["name"] * number) for number in range(1, 17)),
    ),
    "many holds": replace(
        THIN,
        restrictions=tuple(
            Restriction(f"rev_{number:026}", "narrow", number) for number in range(50)
        ),
        removed=tuple(f"tools:{number}:*" for number in range(50)),
    ),
    "conditions": replace(
        THIN,
        conditions=Conditions(
            tuple(f"10.{number}.0.0/16" for number in range(16)),
            tuple((f"key-{number}", "v" * 100) for number in range(16)),
        ),
    ),
}


def decoded(shape: Record, number: int) -> CachedRecord:
    """Make a record as one that came over the wire: it shares no object with another."""
    payload = records.encode(
        replace(shape, token_hash=number.to_bytes(32)), signed_envelope.unsigned
    )
    record = records.decode(payload)
    record.matches(["a"])
    kept = CachedRecord(record, payload, slots_of(record.handles, 1 << 20), record.as_of)
    kept.window = Window(NOW_NS + number, 2 * NOW_NS + number)
    return kept


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_the_estimated_size_of_a_record_is_its_memory_or_a_little_more(shape: Record) -> None:
    kept = RecordCache(capacity=10_000)
    decoded(shape, 0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(100):
            kept.put(decoded(shape, number))
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert len(kept) == 100
    assert taken <= 1.05 * kept.bytes <= 2 * taken


def test_large_records_take_no_more_memory_than_small_ones() -> None:
    kept = RecordCache(capacity=1_000)
    for number in range(3_000):
        kept.put(held(number))
    thin = len(kept)
    for number in range(1_000):
        kept.put(decoded(SHAPES["long handles"], number))
        assert kept.bytes <= 1_000 * BYTES_EACH
    assert thin == 1_000
    assert 0 < len(kept) < 500
    for number in range(1_000):
        kept.drop(number.to_bytes(32))
    assert (len(kept), kept.bytes) == (0, 0)


def test_a_usual_record_has_the_size_that_the_bound_assumes() -> None:
    kept = decoded(THIN, 1)
    assert weight(kept) <= BYTES_EACH


def ring_of(selector: Callable[[int], Selector], count: int) -> tuple[Ring, int]:
    """Fill a ring twice over with events that share no object; return it, and its bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        ring = Ring(Position(1, 0, bytes(32)), capacity=count)
        for seq in range(1, 2 * count + 1):
            ring.append(selector(seq), Position(1, seq, seq.to_bytes(32)))
        return ring, tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_a_full_ring_takes_the_documented_memory() -> None:
    ring, taken = ring_of(lambda seq: select([f"token:tok_{seq:026}"]), 2_048)
    assert ring.floor == 2_048
    assert 15e6 < taken / 2_048 * ring_module.CAPACITY < 45e6  # some 30 MB


def test_a_full_ring_of_the_widest_selectors_takes_the_documented_memory() -> None:
    def widest(seq: int) -> Selector:
        return select([f"label:{seq:08}-{number}={'v' * 230}" for number in range(8)])

    _, taken = ring_of(widest, 512)
    assert taken / 512 * ring_module.CAPACITY < 220e6


class SilentRedis:
    """A Redis that was there, and from which no answer comes."""

    def __init__(self) -> None:
        self.records = RedisRecordReader("redis://127.0.0.1:1")
        self.records._available = True

    async def ask(self, many: int) -> list["asyncio.Task[bytes | None]"]:
        asked = [
            asyncio.create_task(self.records.find(1, number.to_bytes(32))) for number in range(many)
        ]
        await asyncio.sleep(0)
        return asked


async def test_look_ups_beyond_the_bound_bypass_redis() -> None:
    tasks = await SilentRedis().ask(redis_records._CAPACITY + 10)
    passed = [task for task in tasks if task.done()]
    assert [task.result() for task in passed] == [None] * 10
    for task in tasks:
        task.cancel()
