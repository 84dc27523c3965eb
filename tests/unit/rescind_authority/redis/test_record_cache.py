"""The writer of records to Redis ends when it is cancelled, whatever redis-py makes of that."""

import asyncio

import pytest
from tests.support.dropping_redis import DroppingRedis
from tests.support.messages import RECORD

from rescind_authority.prometheus import PrometheusMetrics
from rescind_authority.redis.record_cache import RedisRecordWriter
from rescind_runtime.links import RedisLink


@pytest.mark.parametrize("fails", [True, False])
@pytest.mark.parametrize("during", ["ping", "execute"])
async def test_a_cancellation_that_the_driver_drops_ends_it_all_the_same(
    during: str, *, fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = DroppingRedis(during=during, fails=fails)
    client.replace_connections(monkeypatch)
    writer = RedisRecordWriter(RedisLink("unix:///nowhere"), PrometheusMetrics())
    writer.keep(RECORD, b"", now_us=0)
    job = asyncio.ensure_future(writer.run())
    await client.waiting.wait()
    job.cancel()
    done, _ = await asyncio.wait([job], timeout=5)
    assert done
    assert job.cancelled()
