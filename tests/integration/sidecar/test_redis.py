"""Redis as the second level, on a real Valkey: it saves look-ups, and never changes an answer."""

import asyncio
import dataclasses
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis
from tests.support.outcomes import soon
from tests.support.sidecar import LedgerInMemory, RunningSidecar, running, wait_until

from rescind import Denied, Reason
from rescind.core import token_format
from rescind.wire import records, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind.wire.trust_statement import Purpose
from rescind_runtime.crypto.signing import Keyring
from rescind_runtime.local_system import home, postgres, valkey
from rescind_runtime.processes.child_process import Server
from rescind_sidecar.redis.record_cache import RedisRecordReader
from rescind_sidecar.usecases.lookup.answer import ValidRecord

DEADLINE_S = 0.05
HELLO = b"%1\r\n$5\r\nproto\r\n:3\r\n"
SLACK_S = 0.15  # this machine is shared: a stall of the test is no finding


@dataclass(frozen=True)
class RedisSystem:
    """A sidecar, the ledger that it follows, and the Redis between the two."""

    sidecar: RunningSidecar
    link: LedgerInMemory
    server: Server
    redis: RedisRecordReader
    cache: Redis

    def put(self, token: str, payload: bytes, *, epoch: int = 1) -> None:
        """Leave something in Redis where a token's record belongs."""
        self.cache.set(records.key(epoch, token_format.digest(token)), payload)

    def judge(self, token: str) -> Reason | None:
        """Look at a token that is not in memory; None is allowed."""
        self.sidecar.forget(token)
        found = self.sidecar.look(token)
        return found.reason if isinstance(found, Denied) else None

    def took_s(self, token: str) -> float:
        """Look at a good token that is not in memory, and say how long that took."""
        self.sidecar.forget(token)
        began = time.monotonic()
        assert isinstance(self.sidecar.look(token), ValidRecord)
        return time.monotonic() - began


@asynccontextmanager
async def valkeys(directory: Path) -> AsyncIterator[Server]:
    async with (
        home.locked(directory, longest_socket=postgres.MAX_SOCKET_PATH) as place,
        valkey.running(place) as server,
    ):
        yield server


@contextmanager
def beside(server: Server, directory: Path) -> Iterator[RedisSystem]:
    link, reader = LedgerInMemory(), RedisRecordReader(server.url)
    with (
        Redis.from_url(server.url, socket_timeout=5) as cache,
        running(directory / "search.sock", link, redis=reader) as sidecar,
    ):
        yield RedisSystem(sidecar, link, server, reader, cache)


@pytest.fixture
async def redis_system(tmp_path: Path) -> AsyncIterator[RedisSystem]:
    async with valkeys(tmp_path / "data") as server:
        with beside(server, tmp_path) as redis_system:
            yield redis_system


async def test_a_record_in_redis_saves_the_authority_a_look_up(redis_system: RedisSystem) -> None:
    token = redis_system.link.issue()
    redis_system.put(token, redis_system.link.encoded(token))
    assert redis_system.judge(token) is None
    assert (redis_system.sidecar.tally.looks_at_redis, redis_system.link.resolved) == (1, 0)


async def test_a_record_that_redis_does_not_have_is_requested_from_the_authority(
    redis_system: RedisSystem,
) -> None:
    token = redis_system.link.issue()
    assert redis_system.judge(token) is None
    redis_system.put(token, redis_system.link.encoded(token))
    redis_system.cache.flushall()
    assert redis_system.judge(token) is None
    assert (redis_system.sidecar.tally.redis_absent, redis_system.link.resolved) == (2, 2)


async def test_a_record_from_before_a_revocation_does_not_resurrect_the_token(
    redis_system: RedisSystem,
) -> None:
    token = redis_system.link.issue("agent:x")
    old = redis_system.link.encoded(token)
    redis_system.sidecar.push(redis_system.link.revoke("subject:agent:x"))
    redis_system.put(token, old)
    assert redis_system.judge(token) is Reason.REVOKED
    assert (redis_system.sidecar.tally.redis_stale, redis_system.link.resolved) == (1, 1)


async def test_an_outdated_replica_that_was_promoted_changes_no_answer(
    redis_system: RedisSystem,
) -> None:
    good, bad = redis_system.link.issue("agent:good"), redis_system.link.issue("agent:bad")
    copy = {token: redis_system.link.encoded(token) for token in (good, bad)}
    for _ in range(20):
        redis_system.sidecar.push(redis_system.link.revoke("subject:agent:bad"))
    redis_system.cache.flushall()
    for token, payload in copy.items():
        redis_system.put(token, payload)
    assert redis_system.judge(good) is None
    assert redis_system.judge(bad) is Reason.REVOKED
    # What nothing has hit since is as good as new, however old it is.
    assert (redis_system.sidecar.tally.looks_at_redis, redis_system.sidecar.tally.redis_stale) == (
        1,
        1,
    )


async def test_a_poisoned_value_is_counted_and_never_accepted(redis_system: RedisSystem) -> None:
    token, other = redis_system.link.issue("agent:x"), redis_system.link.issue("agent:y")
    redis_system.sidecar.push(redis_system.link.revoke("subject:agent:x"))
    garbage = [
        b"",
        b"\x00",
        b"\xdd\xff\xff\xff\xff",
        b"x" * 70_000,
        redis_system.link.encoded(token)[:-9],
    ]
    for poison in (redis_system.link.encoded(other), *garbage):
        redis_system.put(token, poison)
        assert redis_system.judge(token) is Reason.REVOKED
    assert redis_system.sidecar.tally.redis_refused == 1 + len(garbage)


async def test_a_plausible_forged_record_is_refused(redis_system: RedisSystem) -> None:
    """Right in hash, epoch and as_of, free of holds: only the signature tells."""
    token = redis_system.link.issue("agent:x")
    free = redis_system.link.encoded(token)
    redis_system.sidecar.push(redis_system.link.revoke("subject:agent:x"))
    record = dataclasses.replace(records.decode(free), as_of=redis_system.link.position.seq)
    other = Keyring.create(root=os.urandom(32), now_us=1)
    ours = signed_envelope.decode(free)

    def borrowed(content: bytes) -> SignedEnvelope:
        return SignedEnvelope(content, ours.key_id, ours.signature)

    signers = (
        signed_envelope.unsigned,
        borrowed,
        lambda content: other.sign(Purpose.RECORDS, content),
        lambda content: SignedEnvelope(
            content, ours.key_id, other.sign(Purpose.RECORDS, content).signature
        ),
        redis_system.link.sign_events,
    )
    for sign in signers:
        redis_system.put(token, records.encode(record, sign))
        assert redis_system.judge(token) is Reason.REVOKED
    assert redis_system.sidecar.tally.redis_refused == len(signers)


async def test_a_token_that_redis_alone_knows_is_unknown(redis_system: RedisSystem) -> None:
    other_ledger = LedgerInMemory()
    token = other_ledger.issue("agent:x")
    redis_system.put(token, other_ledger.encoded(token))
    assert redis_system.judge(token) is Reason.UNKNOWN
    assert redis_system.sidecar.tally.redis_refused == 1


async def test_a_record_of_another_epoch_is_never_accepted(redis_system: RedisSystem) -> None:
    token = redis_system.link.issue()
    redis_system.link.restore(0, epoch=2)
    redis_system.put(token, redis_system.link.encoded(token), epoch=1)
    redis_system.link.restore(0, epoch=1)
    assert redis_system.judge(token) is None
    assert (redis_system.sidecar.tally.redis_stale, redis_system.link.resolved) == (1, 1)


async def test_a_value_of_another_type_is_passed_by(redis_system: RedisSystem) -> None:
    token = redis_system.link.issue()
    redis_system.cache.lpush(records.key(1, token_format.digest(token)), "a list")
    assert redis_system.judge(token) is None
    assert redis_system.redis.connected


async def test_an_unknown_token_leaves_nothing_in_redis(redis_system: RedisSystem) -> None:
    other_ledger = LedgerInMemory().issue()
    assert redis_system.judge(other_ledger) is Reason.UNKNOWN
    assert redis_system.cache.dbsize() == 0


async def test_a_redis_that_is_killed_costs_no_answer_and_is_found_again(tmp_path: Path) -> None:
    async with (
        home.locked(tmp_path / "data", longest_socket=postgres.MAX_SOCKET_PATH) as place,
        AsyncExitStack() as life,
    ):
        server = await life.enter_async_context(valkey.running(place))
        redis_system = life.enter_context(beside(server, tmp_path))
        token = redis_system.link.issue()
        redis_system.put(token, redis_system.link.encoded(token))
        before = [redis_system.took_s(token) for _ in range(100)]
        os.kill(server.child.pid, signal.SIGKILL)
        during = [redis_system.took_s(token) for _ in range(300)]
        soon(max(during), at_most_s=DEADLINE_S + SLACK_S)
        soon(statistics.median(during), at_most_s=statistics.median(before) + 0.001)
        assert not redis_system.redis.connected
        assert redis_system.sidecar.tally.looks_unanswered == 0
        await server.child.wait_ended()
        await life.enter_async_context(valkey.running(place))
        await asyncio.to_thread(wait_until, lambda: redis_system.redis.connected)
        redis_system.put(token, redis_system.link.encoded(token))
        served = redis_system.sidecar.tally.looks_at_redis
        redis_system.took_s(token)
        assert redis_system.sidecar.tally.looks_at_redis == served + 1


async def test_a_redis_that_hangs_costs_one_deadline_and_is_found_again(
    redis_system: RedisSystem,
) -> None:
    token = redis_system.link.issue()
    redis_system.put(token, redis_system.link.encoded(token))
    redis_system.took_s(token)
    os.kill(redis_system.server.child.pid, signal.SIGSTOP)
    try:
        first = redis_system.took_s(token)
        later = [redis_system.took_s(token) for _ in range(300)]
    finally:
        os.kill(redis_system.server.child.pid, signal.SIGCONT)
    soon(first, at_most_s=DEADLINE_S + SLACK_S)
    soon(statistics.median(later), at_most_s=0.005)
    soon(max(later), at_most_s=DEADLINE_S + SLACK_S)
    await asyncio.to_thread(wait_until, lambda: redis_system.redis.connected)
    served = redis_system.sidecar.tally.looks_at_redis
    redis_system.took_s(token)
    assert redis_system.sidecar.tally.looks_at_redis == served + 1


async def test_a_sidecar_ends_while_redis_hangs(tmp_path: Path) -> None:
    async with valkeys(tmp_path / "data") as server:
        os.kill(server.child.pid, signal.SIGSTOP)
        try:
            link = LedgerInMemory()
            sidecar = RunningSidecar(tmp_path / "s.sock", link, redis=RedisRecordReader(server.url))
            sidecar.start()
            began = time.monotonic()
            sidecar.stop()
            soon(time.monotonic() - began, at_most_s=2)
        finally:
            os.kill(server.child.pid, signal.SIGCONT)


NONSENSE = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "no number": b"$abc\r\n",
    "deep": b"*1\r\n" * 10_000,
    "errors": b"-ERR \xff\xfe\r\n" * 20,
    "negative": b"$-9999999999999999999999\r\n",
    "a huge map": b"%9999999999\r\n",
    "a map": b"%1\r\n+a\r\n+b\r\n",
    "a push": b">2\r\n+invalidate\r\n*0\r\n",
    "too few": b"*0\r\n",
    "not bytes": b"*1\r\n:7\r\n",
    "always ok": b"+OK\r\n" * 9,
    "hangs up": b"",
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
@pytest.mark.parametrize("command", [b"HELLO", b"PING", b"MGET"])
async def test_no_answer_of_a_server_makes_the_reader_raise(
    nonsense: bytes, command: bytes, tmp_path: Path
) -> None:
    async def answer(asked: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(5):
            while received := await asked.read(65_536):
                if command in received:
                    writer.write(nonsense)
                    break
                writer.write(HELLO if b"HELLO" in received else b"+PONG\r\n")
            heard.set()
            writer.close()

    heard = asyncio.Event()
    server = await asyncio.start_unix_server(answer, tmp_path / "redis.sock")
    reader = RedisRecordReader(f"unix://{tmp_path / 'redis.sock'}")
    async with server, asyncio.TaskGroup() as tasks:
        job = tasks.create_task(reader.run())
        async with asyncio.timeout(5):
            while not heard.is_set():
                assert await reader.find(1, bytes(32)) is None
                await asyncio.sleep(0.005)
        assert await reader.find(1, bytes(32)) is None
        assert not job.done()
        job.cancel()
