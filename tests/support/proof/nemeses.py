"""Faults of an installation: each nemesis causes one, and repairs it again."""

import asyncio
import itertools
import random
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import nats
import redis.asyncio as redis
from nats.aio.msg import Msg
from tests.support.cluster import TERM_S, Cluster
from tests.support.failover import Pair, Servers
from tests.support.fault_wire import Fault, Wire
from tests.support.outcomes import in_time
from tests.support.proof.actors import Actors
from tests.support.proof.oracle import EXCUSED, Oracle

from rescind.core import instance_mac
from rescind.core.verdict import Reason
from rescind.wire import heartbeat, lookups, nats_subjects, signed_envelope
from rescind.wire.signed_envelope import SignedEnvelope
from rescind_runtime.crypto.signing import Keyring

_UNKNOWN_S = 4.0
_RECEIPTS = 10
_RECEIPTS_S = 60.0
_MOVED_S = (0.05, 0.3)
AUTHORITIES = ("authority-1", "authority-2")


@dataclass(frozen=True, slots=True)
class Stage:
    """The installation on which a nemesis works."""

    cluster: Cluster
    oracle: Oracle
    wires: Mapping[str, Wire]
    folder: Path
    random_source: random.Random

    @property
    def service(self) -> str:
        return self.random_source.choice(list(self.cluster.services))

    async def enforced_more(self, count: int) -> None:
        """Wait until this number of further receipts came."""
        wanted = self.oracle.commands["revoke and wait"] + count
        ends = time.monotonic() + _RECEIPTS_S
        while self.oracle.commands["revoke and wait"] < wanted:
            in_time(ends, self.oracle.commands)
            await asyncio.sleep(0.02)

    def flag(self, name: str, text: str = "") -> None:
        """Make an authority of the test's build hang or die at a step."""
        (self.cluster.directory / name).write_text(text)


Nemesis = Callable[[Stage], Awaitable[None]]


def killed(*names: str) -> Nemesis:
    """Kill parts at once, leave them dead for a while, and start them again."""

    async def work(stage: Stage) -> None:
        for name in names:
            stage.cluster.parts[name].kill()
        await asyncio.sleep(stage.random_source.uniform(0, 1.1 * TERM_S))
        await stage.cluster.heal()

    return work


async def some_killed(stage: Stage) -> None:
    """Kill one to three arbitrary parts."""
    names = list(stage.cluster.parts)
    await killed(*stage.random_source.sample(names, stage.random_source.randint(1, 3)))(stage)


def frozen(what: str, terms: float) -> Nemesis:
    """Freeze a sidecar or an authority for a number of lease terms."""

    async def work(stage: Stage) -> None:
        name = stage.service if what == "sidecar" else stage.random_source.choice(AUTHORITIES)
        part = stage.cluster.parts[name]
        part.freeze()
        await asyncio.sleep(terms * TERM_S)
        part.thaw()

    return work


def wired(fault: Fault, terms: float) -> Nemesis:
    """Apply a fault to the wires of two sidecars for a number of lease terms."""

    async def work(stage: Stage) -> None:
        chosen = stage.random_source.sample(list(stage.wires), 2)
        for service in chosen:
            stage.wires[service].suffer(fault)
        await asyncio.sleep(terms * TERM_S)
        for service in chosen:
            stage.wires[service].suffer(Fault.NONE)

    return work


async def garbled(stage: Stage) -> None:
    """Garble what two sidecars send and receive.

    A look-up that arrives as another one is answered with `unknown`, which is not signed: a host in
    between can cause denials of tokens, for as long as a sidecar remembers the answer.
    """
    stage.oracle.excused = EXCUSED | {Reason.UNKNOWN}
    await wired(Fault.GARBLED, 1.0)(stage)
    await asyncio.sleep(_UNKNOWN_S)
    stage.oracle.excused = EXCUSED


async def nats_rolled_back(stage: Stage) -> None:
    """Replace the store of NATS by that of some seconds ago."""
    store, old = stage.cluster.nats_store, stage.folder / "old-store"
    part = stage.cluster.parts["nats"]
    part.kill()
    shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(store, old)
    await stage.cluster.heal()
    await asyncio.sleep(1.0)
    part.kill()
    await part.stop()
    shutil.rmtree(store)
    shutil.copytree(old, store)
    await stage.cluster.heal()


async def redis_poisoned(stage: Stage) -> None:
    """Put old records back, swap, garble and flush what Redis holds, for a lease term."""
    ends = time.monotonic() + TERM_S
    oldest: dict[bytes, bytes] = {}
    async with redis.Redis.from_url(stage.cluster.urls["redis"]) as client:
        while time.monotonic() < ends:
            keys = [key async for key in client.scan_iter(count=500)]
            # Nothing is decoded, as none of the values is a string.
            found = cast("list[bytes | None]", await client.mget(keys)) if keys else []
            held = {key: value for key, value in zip(keys, found, strict=True) if value}
            oldest = held | oldest
            # In one pipeline: awaiting an answer for each of thousands of records takes minutes.
            async with client.pipeline(transaction=False) as poison:
                for key, value in held.items():
                    wrong = stage.random_source.choice(
                        (
                            oldest[key],
                            stage.random_source.choice(found),
                            _flipped(value, stage.random_source),
                        )
                    )
                    poison.set(key, wrong or b"", keepttl=True)
                await poison.execute()
            await asyncio.sleep(0.1)
        await client.flushall()


def _flipped(payload: bytes, random_source: random.Random) -> bytes:
    wrong = bytearray(payload)
    wrong[random_source.randrange(len(wrong))] ^= 1 << random_source.randrange(8)
    return bytes(wrong)


async def postgres_restarted(stage: Stage) -> None:
    """Kill Postgres, twice in a row."""
    for _ in range(2):
        await killed("postgres")(stage)
        await asyncio.sleep(0.3)


@asynccontextmanager
async def failing_over(
    stage: Stage, servers: Servers, actors: Actors, *, restart: bool
) -> AsyncGenerator[None]:
    """Fail Postgres over; the old primary lives for the block, and returns as the standby.

    One sidecar is cut off and one is dead until the new primary has receipts without them. When
    they request leases and records again, the authorities have lost their connections, and the
    address moves between the two servers, for the block. With `restart` the old primary was
    restarted before, so it shows commits that the new primary never had.

    Until an authority has committed on the new primary, it may lack the commits of another one
    there: a token of that time is denied as `unknown`, for as long as a sidecar remembers that.
    """
    pair = servers.pair
    cut, dead = stage.random_source.sample(list(stage.cluster.services), 2)
    stage.wires[cut].suffer(Fault.CUT)
    stage.cluster.parts[dead].kill()
    await pair.cut_off()
    await asyncio.sleep(stage.random_source.uniform(0.5, 1.0) * TERM_S)
    if restart:
        await servers.restart_old()
    stage.oracle.excused = EXCUSED | {Reason.UNKNOWN}
    await pair.fail_over()
    await actors.written()
    await asyncio.gather(asyncio.sleep(_UNKNOWN_S), stage.enforced_more(_RECEIPTS))
    stage.oracle.excused = EXCUSED
    async with asyncio.TaskGroup() as tasks:
        pair.move_to(pair.old)
        await pair.drop_connections()
        moving = tasks.create_task(_move_between(pair, stage.random_source))
        stage.wires[cut].suffer(Fault.NONE)
        await stage.cluster.heal()
        yield
        moving.cancel()
    pair.move_to(pair.new)
    await servers.rejoin()


async def _move_between(pair: Pair, random_source: random.Random) -> None:
    for sockets in itertools.cycle((pair.new, pair.old)):
        await asyncio.sleep(random_source.uniform(*_MOVED_S))
        pair.move_to(sockets)


async def grants_stalled(stage: Stage) -> None:
    """Make an authority hang between G1 and G2, and another one between G2 and the reply."""
    stage.flag("stall-grant", str(1.05 * TERM_S))
    await asyncio.sleep(0.5 * TERM_S)
    stage.flag("stall-reply", str(1.2 * TERM_S))
    await asyncio.sleep(1.5 * TERM_S)


async def crashed_before_publishing(stage: Stage) -> None:
    """Make an authority die between COMMIT and publishing."""
    stage.flag("crash-before-publish")
    await asyncio.sleep(1.0)
    await stage.cluster.heal()


async def forged(stage: Stage) -> None:
    """Replay all messages, both garbled and unchanged, and send forged ones."""
    heard: list[Msg] = []
    client = await nats.connect(stage.cluster.nats_url, max_reconnect_attempts=-1)

    async def hear(message: Msg) -> None:
        if len(heard) < 2_000:
            heard.append(message)

    try:
        await client.subscribe("rescind.v1.>", cb=hear)
        await asyncio.sleep(1.0)
        for message in heard:
            payload = message.data
            if stage.random_source.random() < 0.5 and payload:
                payload = _flipped(payload, stage.random_source)
            await client.publish(message.subject, payload)
            if stage.random_source.random() < 0.3:
                await client.publish(
                    nats_subjects.EVENTS, secrets.token_bytes(stage.random_source.randrange(99))
                )
        await client.flush()
        await asyncio.sleep(0.5)
    finally:
        await client.close()


async def flooded(stage: Stage) -> None:
    """Flood the authorities with look-ups of tokens never issued, half of them with a valid MAC."""
    master = Keyring.read(stage.cluster.directory / "keyring").master
    instance = secrets.token_bytes(heartbeat.INSTANCE_BYTES)
    secret = instance_mac.instance_secret(master, epoch=1, instance=instance)
    client = await nats.connect(stage.cluster.nats_url, max_reconnect_attempts=-1)
    try:
        for _ in range(20):
            for _ in range(100):
                asked = lookups.LookupRequest(secrets.token_bytes(32), secrets.token_bytes(16))
                content = lookups.encode_request(asked)
                tag = instance_mac.tag(secret, instance_mac.TO_AUTHORITY, content)
                if stage.random_source.random() < 0.5:
                    tag = bytes(len(tag))
                payload = signed_envelope.encode(SignedEnvelope(content, instance, tag))
                await client.publish(nats_subjects.RESOLVE, payload, reply="_INBOX.nobody")
            await asyncio.sleep(0.05)
    finally:
        await client.close()


CYCLE: Mapping[str, Nemesis] = {
    "a sidecar frozen for 0.95 of the term": frozen("sidecar", 0.95),
    "a sidecar frozen for 1.05 of the term": frozen("sidecar", 1.05),
    "sidecars cut off for longer than the term": wired(Fault.CUT, 1.3),
    "an authority killed": killed("authority-1"),
    "sidecars that are not heard": wired(Fault.MUTE, 1.2),
    "sidecars that hear nothing": wired(Fault.DEAF, 1.2),
    "NATS rolled back": nats_rolled_back,
    "Redis stale, poisoned and flushed": redis_poisoned,
    "Postgres restarted": postgres_restarted,
    "authorities that stall between the steps of a grant": grants_stalled,
    "an authority that dies between commit and publishing": crashed_before_publishing,
    "forged and replayed messages": forged,
    "a flood of look-ups": flooded,
    "slow wires": wired(Fault.SLOW, 1.5),
    "garbled wires": garbled,
    "an authority frozen for 0.5 of the term": frozen("authority", 0.5),
    "NATS killed": killed("nats"),
    "everything killed at random": some_killed,
}
