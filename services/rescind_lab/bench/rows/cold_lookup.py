# redis-py leaves types open:
# pyright: reportUnknownMemberType=false
"""Row `sight`: a token that this process sees for the first time, and that its sidecar has."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import cast

import redis

from rescind import Verifier
from rescind.wire.socket_protocol import Look, encode_request
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Side, Unit, in_turns, per_call_us
from rescind_lab.bench.socket_client import SocketClient
from rescind_runtime import clock

_TOKENS = 200  # a short round has a chance to run undisturbed
_IN_FLIGHT = 100
_RECORD_BYTES = 400

_LINES = {
    "sight.check": ("first sight: check, with the record read", "redis_tcp"),
    "sight.socket": ("first sight: the socket alone", "redis_tcp"),
    "sight.acheck": (f"first sight: {_IN_FLIGHT} acheck at once", "redis_tcp"),
    "sight.pipelined": (f"first sight: {_IN_FLIGHT} in flight, the socket alone", "redis_tcp"),
    "sight.redis_pipeline": ("the same", "redis_pipeline"),
}
_OURS = {"sight.redis_pipeline": "sight.pipelined"}
_RIVALS = {
    "redis_tcp": "redis-py GET over TCP, one by one",
    "redis_pipeline": f"redis-py pipeline of {_IN_FLIGHT} GET over TCP",
}
_TARGETS = {
    "sight.check": (Target(Statistic.RATIO, 2, at_least=True),),
    "sight.acheck": (Target(Statistic.RATIO, 5, at_least=True),),
}


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Look up every token once in each round, with a new verifier and without one."""
    hot = await stage.issue(stage.choose(quick=_IN_FLIGHT, full=_TOKENS))
    stage.show_step("first sights")
    verifier = Verifier.attach(stage.sidecar.socket)
    per_call_us(verifier.check, hot, calls=len(hot))  # from here on the sidecar has them
    verifier.close()
    with (
        SocketClient.open(stage.sidecar.socket) as socket_client,
        redis.Redis(port=stage.redis_port) as client,
    ):
        client.mset(dict.fromkeys(hot, b"x" * _RECORD_BYTES))
        socket = _Socket(socket_client, hot)
        sides: dict[str, Side] = {
            "sight.check": _check(stage, hot),
            "redis_tcp": _redis(client, hot),
            "sight.socket": socket.one_by_one,
            "sight.acheck": _acheck(stage, hot),
            "sight.pipelined": socket.pipelined,
            "redis_pipeline": _redis_pipeline(client, hot),
        }
        timed = await in_turns(sides, rounds=stage.choose(quick=2, full=60), unit=Unit.US)
    return {
        key: Measured(timed[_OURS.get(key, key)], timed[rival])
        for key, (_, rival) in _LINES.items()
    }


def _check(stage: BenchStage, hot: list[str]) -> Side:
    async def side() -> float:
        verifier = Verifier.attach(stage.sidecar.socket)
        try:
            return per_call_us(verifier.check, hot, calls=len(hot))
        finally:
            verifier.close()

    return side


def _acheck(stage: BenchStage, hot: list[str]) -> Side:
    """Check tokens in many tasks, one after the other in each, like the requests of a server."""

    async def side() -> float:
        verifier = Verifier.attach(stage.sidecar.socket)
        left = iter(hot)

        async def work() -> None:
            for token in left:
                await verifier.acheck(token)

        try:
            await verifier.acheck(hot[-1])  # opens the connection of this loop
            return await timed_us(lambda: in_flight(work, _IN_FLIGHT), calls=len(hot))
        finally:
            verifier.close()

    return side


class _Socket:
    def __init__(self, client: SocketClient, hot: list[str]) -> None:
        self._client = client
        self._hot = hot
        self._numbers = count()

    async def one_by_one(self) -> float:
        return per_call_us(
            lambda token: self._client.request(Look(next(self._numbers), token)),
            self._hot,
            calls=len(self._hot),
        )

    async def pipelined(self) -> float:
        began_ns = clock.monotonic_raw_ns()
        for start in range(0, len(self._hot), _IN_FLIGHT):
            some = self._hot[start : start + _IN_FLIGHT]
            self._client.send(
                b"".join(encode_request(Look(next(self._numbers), token)) for token in some)
            )
            for _ in some:
                self._client.receive()
        return (clock.monotonic_raw_ns() - began_ns) / len(self._hot) / 1_000


def _redis(client: redis.Redis, hot: list[str]) -> Side:
    async def side() -> float:
        get = cast("Callable[[str], object]", client.get)
        return per_call_us(get, hot, calls=len(hot))

    return side


def _redis_pipeline(client: redis.Redis, hot: list[str]) -> Side:
    async def side() -> float:
        began_ns = clock.monotonic_raw_ns()
        for start in range(0, len(hot), _IN_FLIGHT):
            with client.pipeline(transaction=False) as pipeline:
                for token in hot[start : start + _IN_FLIGHT]:
                    pipeline.get(token)
                pipeline.execute()
        return (clock.monotonic_raw_ns() - began_ns) / len(hot) / 1_000

    return side


async def timed_us(work: Callable[[], Awaitable[None]], *, calls: int) -> float:
    """Return the mean time of one call, in microseconds.

    The work makes `calls` calls.
    """
    began_ns = clock.monotonic_raw_ns()
    await work()
    return (clock.monotonic_raw_ns() - began_ns) / calls / 1_000


async def in_flight(work: Callable[[], Awaitable[None]], workers: int) -> None:
    """Run `work` in `workers` tasks at once."""

    async def one() -> None:
        await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(one())


def _line(key: str) -> Line:
    label, rival = _LINES[key]
    return Line(key, label, _RIVALS[rival], _TARGETS.get(key, ()))


ROW = Row("sight", tuple(map(_line, _LINES)), measure)
