"""What an authority leaves in Redis, and what it writes of tokens in use."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from tests.support.authority import Running, Sidecar, System, now_us, serving
from tests.support.eventually import eventually

from rescind.core import instance_mac, token_format
from rescind.wire import lookups, nats_subjects, records, signed_envelope, usage_report
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_authority.ports.token_search import Use
from rescind_authority.postgres import pool
from rescind_authority.postgres.token_search import PostgresTokens
from rescind_runtime.local_system import home, postgres, valkey
from rescind_runtime.processes.child_process import Server


@dataclass(frozen=True)
class RedisSystem:
    """An authority that has a Redis, and a sidecar that asks it."""

    authority: Running
    sidecar: Sidecar
    server: Server
    cache: Redis

    async def left(self, token: str, *, epoch: int = 1) -> bytes | None:
        """Read what lies in Redis for a token."""
        found = await self.cache.get(records.key(epoch, token_format.digest(token)))
        assert not isinstance(found, str)
        return found


@pytest.fixture
async def redis_system(system: System, tmp_path: Path) -> AsyncIterator[RedisSystem]:
    async with (
        home.locked(tmp_path / "data", longest_socket=postgres.MAX_SOCKET_PATH) as place,
        valkey.running(place) as server,
        Redis.from_url(server.url, socket_timeout=5) as cache,
        serving(system.but(redis_url=SecretStr(server.url))) as authority,
        system.sidecar() as sidecar,
    ):
        yield RedisSystem(authority, sidecar, server, cache)


async def test_a_look_up_stores_its_record_in_redis_for_the_next_sidecar(
    redis_system: RedisSystem,
) -> None:
    issued = await redis_system.authority.issue(ttl=3600)
    assert (
        await redis_system.left(issued["token"]) is None
    )  # not at issue: holds are not known there
    _, record = await redis_system.sidecar.resolve(issued["token"])
    left = await eventually(lambda: redis_system.left(issued["token"]))
    assert left is not None
    assert records.decode(left) == record
    assert await redis_system.left(issued["token"], epoch=2) is None
    key = records.key(1, token_format.digest(issued["token"]))
    assert 0 < await redis_system.cache.pttl(key) <= records.MAX_TTL_MS


async def test_a_record_does_not_outlive_its_token_in_redis(redis_system: RedisSystem) -> None:
    issued = await redis_system.authority.issue(ttl=30)
    await redis_system.sidecar.resolve(issued["token"])
    await eventually(lambda: redis_system.left(issued["token"]))
    key = records.key(1, token_format.digest(issued["token"]))
    assert 0 < await redis_system.cache.pttl(key) <= 30_000


async def test_an_unknown_token_stores_nothing_in_redis(redis_system: RedisSystem) -> None:
    issued = await redis_system.authority.issue()
    _, unknown = await redis_system.sidecar.resolve("rsc_agt_unheard_of")
    await redis_system.sidecar.resolve(issued["token"])
    await eventually(lambda: redis_system.left(issued["token"]))
    assert unknown is None
    assert await redis_system.cache.dbsize() == 1


async def test_a_look_up_after_a_revocation_replaces_the_older_record(
    redis_system: RedisSystem,
) -> None:
    issued = await redis_system.authority.issue("agent:x")
    await redis_system.sidecar.resolve(issued["token"])
    old = await eventually(lambda: redis_system.left(issued["token"]))
    await redis_system.authority.revoke("subject:agent:x")
    await redis_system.sidecar.resolve(issued["token"])
    new = await eventually(
        lambda: redis_system.left(issued["token"]), until=lambda left: left not in (None, old)
    )
    assert new is not None
    assert not records.decode(new).live


async def test_no_look_up_waits_for_a_redis_that_hangs_or_is_gone(
    redis_system: RedisSystem,
) -> None:
    issued = await redis_system.authority.issue()
    for number in (signal.SIGSTOP, signal.SIGKILL):
        os.kill(redis_system.server.child.pid, number)
        async with asyncio.timeout(5):
            for _ in range(50):
                _, record = await redis_system.sidecar.resolve(issued["token"])
                assert record is not None
    name = 'rescind_authority_shared_records_total{outcome="lost"}'
    await eventually(lambda: redis_system.authority.metric(name))


async def test_reported_tokens_are_marked_as_used_and_invalid_reports_are_ignored(
    system: System,
) -> None:
    async with serving(system) as authority, system.sidecar() as sidecar:
        issued, other = await authority.issue(), await authority.issue()
        rubbish = ("tok_0000000000000000000000000z", "tok_\0", "DROP TABLE tokens", "")
        for payload in (
            b"rubbish",
            usage_report.encode(
                usage_report.Used(sidecar.instance, (other["token_id"],), now_us())
            ),  # without a MAC
            sidecar.spoken(
                usage_report.encode(
                    usage_report.Used(sidecar.instance, (*rubbish, issued["token_id"]), now_us())
                )
            ),
        ):
            await sidecar.nats.publish(nats_subjects.USED, payload)

        async def seen() -> str | None:
            answer = await authority.http.get(f"/v1/tokens/{issued['token_id']}")
            last_used_at: str | None = answer.json()["last_used_at"]
            return last_used_at

        assert await eventually(seen) > issued["issued_at"]
        answer = await authority.http.get(f"/v1/tokens/{other['token_id']}")
        assert answer.json()["last_used_at"] is None


async def test_last_used_at_only_moves_forward_and_not_twice_at_once(system: System) -> None:
    async with serving(system) as authority, pool.connect(system.dsn) as store:
        token_id = (await authority.issue())["token_id"]

        async def marked(used_s: float) -> object:
            await system.rows(
                "UPDATE tokens SET last_used_at = now() + make_interval(secs => $1)", used_s
            )
            rows = await system.rows("SELECT last_used_at FROM tokens")
            was = {row["last_used_at"] for row in rows}
            await PostgresTokens(store).mark_used([Use(token_id, bytes(16), now_us())])
            (now,) = await system.rows(
                "SELECT last_used_at, now() - last_used_at < interval '5 seconds' AS fresh "
                "FROM tokens WHERE token_id = $1",
                token_id,
            )
            return now["last_used_at"] not in was, now["fresh"]

        assert await marked(-3600) == (True, True)
        assert await marked(-10) == (False, False)
        assert await marked(3600) == (False, True)


async def test_a_repeated_use_report_changes_nothing_and_no_use_lies_in_the_future(
    system: System,
) -> None:
    async with serving(system) as authority, pool.connect(system.dsn) as store:
        token_id = (await authority.issue())["token_id"]
        now = now_us()

        async def marked(at_us: int) -> int:
            await PostgresTokens(store).mark_used([Use(token_id, bytes(16), at_us)])
            (row,) = await store.rows("records_by_id", [token_id])
            return int(row["last_used_at"])

        assert await marked(now) == now
        for again in (now - 3_600_000_000, now, 0):
            assert await marked(again) == now
        await system.rows("UPDATE tokens SET last_used_at = NULL")
        assert now <= await marked(now + 10**12) <= now_us()


async def test_marking_tokens_as_used_waits_for_no_lock(system: System) -> None:
    async with serving(system) as authority, pool.connect(system.dsn) as store:
        locked, free = [(await authority.issue())["token_id"] for _ in range(2)]
        async with store.transaction() as transaction:
            await transaction.execute("SELECT FROM tokens WHERE token_id = $1 FOR UPDATE", locked)
            async with asyncio.timeout(2):
                uses = [Use(each, bytes(16), now_us()) for each in (locked, free)]
                await PostgresTokens(store).mark_used(uses)
        rows = await system.rows("SELECT token_id FROM tokens WHERE last_used_at IS NOT NULL")
        assert [row["token_id"] for row in rows] == [free]


async def test_a_flood_of_look_ups_does_not_starve_heartbeats(system: System) -> None:
    async with serving(system), system.sidecar() as flooder, system.sidecar() as sidecar:
        await flooder.enrol()
        flooding, secret = asyncio.Event(), flooder.secret

        async def flood() -> None:
            for number in range(20_000):
                asked = lookups.encode_request(
                    lookups.LookupRequest(number.to_bytes(32), bytes(16))
                )
                tag = instance_mac.tag(secret, instance_mac.TO_AUTHORITY, asked)
                payload = signed_envelope.encode(SignedEnvelope(asked, flooder.instance, tag))
                await flooder.nats.publish(nats_subjects.RESOLVE, payload, reply="_INBOX.nobody")
                if number == 2_000:
                    flooding.set()
                if number % 500 == 0:
                    await asyncio.sleep(0)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(flood())
            await flooding.wait()
            for _ in range(5):
                assert await sidecar.beat() is not None
