"""Row `memory`: the memory of a workload's process.

It is measured for 100,000 tokens, and for more than the process keeps.
"""

from rescind.client.verifier import MOST_ENTRIES
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.errors import SceneError

_FAKE_SIDECAR = "rescind_lab.bench.processes.fake_sidecar"
_WORKLOAD = "rescind_lab.bench.processes.memory_workload"
_HANDLES = 8
_QUICK_TOKENS = 2_000
_BYTES_PER_MB = 1_000_000
_MOST_MB = 100


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Fill one workload up to its bound, and another with half as many tokens again."""
    stage.show_step("filling a workload with entries")
    full = stage.choose(quick=_QUICK_TOKENS, full=MOST_ENTRIES)
    path = str(stage.system.directory / "memory.sock")
    measured: dict[str, Measured] = {}
    async with stage.process(_FAKE_SIDECAR, path, str(_HANDLES), "0"):
        for key, count in (("memory.full", full), ("memory.beyond", full + full // 2)):
            grown = await _grown_mb(stage, path, count)
            note = f"{count:,} tokens seen, {min(count, MOST_ENTRIES):,} kept, 8 handles each"
            measured[key] = Measured(Samples(Unit.MB, (grown,)), notes=note)
    return measured


async def _grown_mb(stage: BenchStage, path: str, count: int) -> float:
    async with stage.process(_WORKLOAD, path, str(count)) as (_, facts):
        match facts:
            case {"grown_bytes": int(grown)}:
                return grown / _BYTES_PER_MB
            case _:
                raise SceneError(f"the workload does not report how it grew: {facts}")


_BOUND = (Target(Statistic.BEST, _MOST_MB, at_least=False),)
ROW = Row(
    "memory",
    (
        Line("memory.full", "memory of a workload, entries full", None, _BOUND),
        Line("memory.beyond", "… after half as many again", None, _BOUND),
    ),
    measure,
)
