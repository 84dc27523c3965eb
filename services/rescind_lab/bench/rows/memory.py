"""Row `memory`: the memory that a workload's cache uses.

It is measured with as many tokens as the cache keeps, and with half as many again.
"""

from rescind.client.verifier import MAX_ENTRIES
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import BenchSystem
from rescind_lab.errors import LabError

_FAKE_SIDECAR = "rescind_lab.bench.processes.fake_sidecar"
_WORKLOAD = "rescind_lab.bench.processes.memory_workload"
_HANDLES = 8
_QUICK_TOKENS = 2_000
_BYTES_PER_MB = 1_000_000
_MAX_MB = 100


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Fill the cache of one workload, and check half as many tokens again in another."""
    bench.show_step("filling the cache of a workload")
    full = bench.choose(quick=_QUICK_TOKENS, full=MAX_ENTRIES)
    path = str(bench.system.directory / "memory.sock")
    measured: dict[str, Measurement] = {}
    async with bench.run_process(_FAKE_SIDECAR, path, str(_HANDLES), "0"):
        for key, count in (("memory.full", full), ("memory.beyond", full + full // 2)):
            grown = await _measure_growth_mb(bench, path, count)
            note = f"{count:,} tokens checked, {min(count, MAX_ENTRIES):,} kept, 8 handles each"
            measured[key] = Measurement(Samples(Unit.MB, (grown,)), notes=note)
    return measured


async def _measure_growth_mb(bench: BenchSystem, path: str, count: int) -> float:
    async with bench.run_process(_WORKLOAD, path, str(count)) as (_, facts):
        match facts:
            case {"grown_bytes": int(grown)}:
                return grown / _BYTES_PER_MB
            case _:
                raise LabError(f"the workload does not report its growth: {facts}")


_BOUND = (Target(Statistic.BEST, _MAX_MB, at_least=False),)
ROW = Row(
    "memory",
    (
        Line("memory.full", "memory of a workload, cache full", None, _BOUND),
        Line("memory.beyond", "… after half as many tokens again", None, _BOUND),
    ),
    measure,
)
