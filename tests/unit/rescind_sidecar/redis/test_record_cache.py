"""The reader of records in Redis ends when it is cancelled, whatever redis-py makes of that."""

import asyncio

import pytest
from tests.support.dropping_redis import DroppingRedis

from rescind_sidecar.redis.record_cache import RedisRecordReader


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("during", ["ping", "mget"])
async def test_a_cancellation_that_the_driver_drops_ends_it_all_the_same(
    during: str, *, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = DroppingRedis(during=during, fails=fails)
    client.replace_connections(monkeypatch)
    reader = RedisRecordReader("unix:///nowhere")
    job = asyncio.ensure_future(reader.run())
    while during == "mget" and not reader.connected:
        await asyncio.sleep(0)
    looking = asyncio.ensure_future(reader.find(1, bytes(32)))
    await client.waiting.wait()
    job.cancel()
    done, _ = await asyncio.wait([job], timeout=5)
    assert done
    assert job.cancelled()
    assert await looking is None
