# redis-py leaves types open:
# pyright: reportUnknownMemberType=false
"""Row `sight`: the first check of a token in a process whose sidecar has its record."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import cast

import redis

from rescind import Verifier
from rescind.wire.socket_protocol import Look, encode_request
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns, measure_per_call_us
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.socket_client import SocketClient
from rescind_lab.bench.system import BenchSystem
from rescind_runtime import clock

_TOKENS = 200  # in a short round, a disturbance by other processes is less likely
_IN_FLIGHT = 100
_RECORD_BYTES = 400

_LINES = {
    "sight.check": ("first check of a token", "redis_tcp"),
    "sight.socket": ("look-up over the socket alone", "redis_tcp"),
    "sight.acheck": (f"first check: {_IN_FLIGHT} concurrent acheck", "redis_tcp"),
    "sight.pipelined": (f"look-up over the socket alone, {_IN_FLIGHT} in flight", "redis_tcp"),
    "sight.redis_pipeline": ("the same", "redis_pipeline"),
}
_MEASURED_AS = {"sight.redis_pipeline": "sight.pipelined"}
_ALTERNATIVES = {
    "redis_tcp": "redis-py GET over TCP, one by one",
    "redis_pipeline": f"redis-py pipeline of {_IN_FLIGHT} GET over TCP",
}
_TARGETS = {
    "sight.check": (Target(Statistic.RATIO, 2, at_least=True),),
    "sight.acheck": (Target(Statistic.RATIO, 5, at_least=True),),
}


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Look up every token once in each round, with a new verifier and over the socket."""
    hot = await bench.issue(bench.choose(quick=_IN_FLIGHT, full=_TOKENS))
    bench.show_step("first checks")
    verifier = Verifier.attach(bench.sidecar.socket)
    measure_per_call_us(verifier.check, hot, calls=len(hot))  # the sidecar fetches their records
    verifier.close()
    with (
        SocketClient.open(bench.sidecar.socket) as socket_client,
        redis.Redis(port=bench.redis_port) as client,
    ):
        client.mset(dict.fromkeys(hot, b"x" * _RECORD_BYTES))
        socket = _SocketRounds(socket_client, hot)
        sides: dict[str, MeasureRound] = {
            "sight.check": _build_check(bench, hot),
            "redis_tcp": _build_redis(client, hot),
            "sight.socket": socket.measure_one_by_one,
            "sight.acheck": _build_acheck(bench, hot),
            "sight.pipelined": socket.measure_pipelined,
            "redis_pipeline": _build_redis_pipeline(client, hot),
        }
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=2, full=60), unit=Unit.US)
    return {
        key: Measurement(timed[_MEASURED_AS.get(key, key)], timed[alternative])
        for key, (_, alternative) in _LINES.items()
    }


def _build_check(bench: BenchSystem, hot: list[str]) -> MeasureRound:
    async def measure_round() -> float:
        verifier = Verifier.attach(bench.sidecar.socket)
        try:
            return measure_per_call_us(verifier.check, hot, calls=len(hot))
        finally:
            verifier.close()

    return measure_round


def _build_acheck(bench: BenchSystem, hot: list[str]) -> MeasureRound:
    """Check tokens in many tasks, one after the other in each, like the requests of a server."""

    async def measure_round() -> float:
        verifier = Verifier.attach(bench.sidecar.socket)
        remaining = iter(hot)

        async def check_remaining() -> None:
            for token in remaining:
                await verifier.acheck(token)

        try:
            await verifier.acheck(hot[-1])  # opens the connection of this loop
            return await _measure_us(
                lambda: _run_concurrently(check_remaining, _IN_FLIGHT), calls=len(hot)
            )
        finally:
            verifier.close()

    return measure_round


class _SocketRounds:
    def __init__(self, client: SocketClient, hot: list[str]) -> None:
        self._client = client
        self._hot = hot
        self._numbers = count()

    async def measure_one_by_one(self) -> float:
        return measure_per_call_us(
            lambda token: self._client.request(Look(next(self._numbers), token)),
            self._hot,
            calls=len(self._hot),
        )

    async def measure_pipelined(self) -> float:
        began_ns = clock.monotonic_raw_ns()
        for start in range(0, len(self._hot), _IN_FLIGHT):
            batch = self._hot[start : start + _IN_FLIGHT]
            self._client.send(
                b"".join(encode_request(Look(next(self._numbers), token)) for token in batch)
            )
            for _ in batch:
                self._client.receive()
        return (clock.monotonic_raw_ns() - began_ns) / len(self._hot) / 1_000


def _build_redis(client: redis.Redis, hot: list[str]) -> MeasureRound:
    async def measure_round() -> float:
        get = cast("Callable[[str], object]", client.get)
        return measure_per_call_us(get, hot, calls=len(hot))

    return measure_round


def _build_redis_pipeline(client: redis.Redis, hot: list[str]) -> MeasureRound:
    async def measure_round() -> float:
        began_ns = clock.monotonic_raw_ns()
        for start in range(0, len(hot), _IN_FLIGHT):
            with client.pipeline(transaction=False) as pipeline:
                for token in hot[start : start + _IN_FLIGHT]:
                    pipeline.get(token)
                pipeline.execute()
        return (clock.monotonic_raw_ns() - began_ns) / len(hot) / 1_000

    return measure_round


async def _measure_us(work: Callable[[], Awaitable[None]], *, calls: int) -> float:
    """Run work that makes `calls` calls, and return the mean time of one, in microseconds."""
    began_ns = clock.monotonic_raw_ns()
    await work()
    return (clock.monotonic_raw_ns() - began_ns) / calls / 1_000


async def _run_concurrently(work: Callable[[], Awaitable[None]], workers: int) -> None:
    """Run `work` in `workers` concurrent tasks."""

    async def run() -> None:
        await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(workers):
            group.create_task(run())


def _build_line(key: str) -> Line:
    label, alternative = _LINES[key]
    return Line(key, label, _ALTERNATIVES[alternative], _TARGETS.get(key, ()))


ROW = Row("sight", tuple(map(_build_line, _LINES)), measure)
