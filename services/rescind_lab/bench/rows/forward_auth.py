"""Row `http`: `/verify` of the sidecar, against the same endpoint written by hand on uvicorn."""

from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.rows.http_load import HttpCall, Load
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import BenchSystem

_BASELINE = "rescind_lab.bench.processes.uvicorn_baseline"


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Load both sides in turns, with one token."""
    (token,) = await bench.issue(1)
    load = Load(bench.system.directory, seconds=bench.choose(quick=1, full=2))
    async with bench.run_process(_BASELINE, RESCIND_SOCKET=bench.sidecar.socket) as (_, facts):
        bench.show_step("/verify under load")

        async def measure_ours() -> float:
            return await load.measure_per_s(
                HttpCall(f"{bench.sidecar.http}/verify", f"Bearer {token}")
            )

        async def measure_theirs() -> float:
            return await load.measure_per_s(HttpCall(f"{facts['url']}/verify", f"Bearer {token}"))

        sides: dict[str, MeasureRound] = {"ours": measure_ours, "theirs": measure_theirs}
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.PER_S)
    return {"http.verify": Measurement(timed["ours"], timed["theirs"], load.notes)}


ROW = Row(
    "http",
    (
        Line(
            "http.verify",
            "/verify, one worker",
            "the same endpoint by hand, on uvicorn with httptools",
            (Target(Statistic.RATIO, 2, at_least=True),),
        ),
    ),
    measure,
)
