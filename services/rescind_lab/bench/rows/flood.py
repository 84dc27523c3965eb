"""Row `flood`: the latency of good calls while forged tokens arrive, against the same without them.

Both sides are the 99th percentile of calls one after the other on one connection. The flood is a
process of its own, which offers 5,000 forged tokens a second to the endpoint that is measured.
"""

import asyncio
from urllib.parse import urlsplit

from rescind.core.times import NS_PER_US
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.processes import token_flood
from rescind_lab.bench.rows.http_load import HttpCall, read_accepted
from rescind_lab.bench.rows.introspection import build_call
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import BenchSystem
from rescind_runtime import clock

FORGED_PER_S = 5_000


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Measure the latency of good calls with and without the flood, in turns."""
    return {
        key: await _measure_endpoint(bench, call)
        for key, call in (await _build_calls(bench)).items()
    }


async def _build_calls(bench: BenchSystem) -> dict[str, HttpCall]:
    """Return a good call of each endpoint, by the key of its line."""
    (token,) = await bench.issue(1)
    return {
        "flood.verify": HttpCall(f"{bench.sidecar.http}/verify", f"Bearer {token}"),
        "flood.introspect": await build_call(bench, token, client_id="flood"),
    }


async def _measure_endpoint(bench: BenchSystem, call: HttpCall) -> Measurement:
    calls = bench.choose(quick=500, full=5_000)
    bench.show_step(f"{urlsplit(call.url).path} during a flood of forged tokens")

    async def measure_quiet() -> float:
        return await _measure_p99_us(call, calls=calls)

    async def measure_flooded() -> float:
        async with bench.run_process(token_flood.__name__, call.url, str(FORGED_PER_S)):
            return await _measure_p99_us(call, calls=calls)

    sides: dict[str, MeasureRound] = {"ours": measure_flooded, "theirs": measure_quiet}
    timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.US)
    note = f"{FORGED_PER_S:,} forged tokens a second are offered"
    return Measurement(timed["ours"], timed["theirs"], note)


async def _measure_p99_us(call: HttpCall, *, calls: int) -> float:
    """Return the 99th percentile of the time of a call, in microseconds. Raises LabError."""
    address, request = urlsplit(call.url), call.encode()
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    times_us: list[float] = []
    for _ in range(calls):
        began_ns = clock.monotonic_raw_ns()
        writer.write(request)
        await read_accepted(reader)
        times_us.append((clock.monotonic_raw_ns() - began_ns) / NS_PER_US)
    writer.close()
    return Samples(Unit.US, tuple(times_us)).quantile(0.99)


def _line(key: str, path: str) -> Line:
    return Line(
        key,
        f"p99 of {path}, during a flood of forged tokens",
        "the same without the flood",
        (Target(Statistic.RATIO, 0.5, at_least=True),),
    )


ROW = Row(
    "flood",
    (_line("flood.verify", "/verify"), _line("flood.introspect", "/introspect")),
    measure,
)
