"""Row `events`: the same check while 1,000 events a second arrive, for 8, 20 and 40 handles.

The hot set is so large that every check finds a new generation, and has to compare its slots. With
a small set, hardly any check would, and the figure would be that of row `check`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rescind import Verifier
from rescind.core import token_format
from rescind.core.times import NS_PER_S
from rescind.core.token_format import Kind
from rescind.wire.socket_protocol import Check, Verdict
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Samples, Side, Unit, in_turns, per_call_us
from rescind_lab.bench.socket_client import SocketClient
from rescind_lab.errors import SceneError
from rescind_runtime import clock

EVENTS_PER_S = 1_000

_MOST_US = {8: 2.0, 20: 3.0, 40: 4.0}
_MOST_PERCENT = 1.0
_TOKENS = 5_000
_MODULE = "rescind_lab.bench.processes.fake_sidecar"


@dataclass(frozen=True, slots=True)
class _StandinSide:
    """One stand-in, with a verifier that has seen the hot set."""

    verifier: Verifier
    client: SocketClient
    hot: list[str]

    async def check_all(self) -> float:
        return per_call_us(self.verifier.check, self.hot, calls=len(self.hot))

    def looks(self) -> int:
        """Return how many look-ups the stand-in has counted. Raises SceneError."""
        response = self.client.request(Check(0, self.hot[0], (), None))
        if not isinstance(response, Verdict):
            raise SceneError("the stand-in does not answer a check")
        return response.as_of


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Measure each record size under events, beside the same without events."""
    measured: dict[str, Measured] = {}
    for handles_each in _MOST_US:
        stage.show_step(f"checking under events, {handles_each} handles")
        measured |= await _measure(stage, handles_each)
    return measured


async def _measure(stage: BenchStage, handles_each: int) -> dict[str, Measured]:
    rounds = stage.choose(quick=20, full=150)
    async with (
        _standin_side(stage, handles_each, per_s=0) as quiet,
        _standin_side(stage, handles_each, per_s=EVENTS_PER_S) as busy,
    ):
        sides: dict[str, Side] = {"quiet": quiet.check_all, "busy": busy.check_all}
        await busy.check_all()  # tokens that were hit since their first sight are looked up here
        looks, began_ns = busy.looks(), clock.monotonic_raw_ns()
        timed = await in_turns(sides, rounds=rounds, unit=Unit.US)
        seconds = (clock.monotonic_raw_ns() - began_ns) / NS_PER_S
        repeated = busy.looks() - looks
    return {
        f"events.{handles_each}": Measured(
            timed["busy"], timed["quiet"], f"{len(busy.hot):,} hot tokens, in turn"
        ),
        f"events.{handles_each}.asks": Measured(
            Samples(Unit.PERCENT_PER_S, (100 * repeated / seconds / len(busy.hot),)),
            notes=f"{repeated / seconds:.0f} re-asks a second for {len(busy.hot):,} hot tokens",
        ),
    }


@asynccontextmanager
async def _standin_side(
    stage: BenchStage, handles_each: int, *, per_s: int
) -> AsyncGenerator[_StandinSide]:
    path = stage.system.directory / f"{handles_each}-{per_s}.sock"
    async with stage.process(_MODULE, str(path), str(handles_each), str(per_s)):
        verifier = Verifier.attach(path)
        hot = [forged(number) for number in range(stage.choose(quick=1_000, full=_TOKENS))]
        per_call_us(verifier.check, hot, calls=len(hot))  # the first sights
        try:
            with SocketClient.open(path) as client:
                yield _StandinSide(verifier, client, hot)
        finally:
            verifier.close()


def forged(number: int) -> str:
    """Return a text in the format of a token. Only a stand-in accepts it."""
    return token_format.mint(
        kind=Kind.AGENT, random=number.to_bytes(token_format.RANDOM_BYTES), edge_key=bytes(32)
    ).reveal()


ROW = Row(
    "events",
    tuple(
        line
        for handles_each, most_us in _MOST_US.items()
        for line in (
            Line(
                f"events.{handles_each}",
                f"check under {EVENTS_PER_S:,} events/s, {handles_each} handles",
                "the same without events",
                (Target(Statistic.P50, most_us, at_least=False),),
            ),
            Line(
                f"events.{handles_each}.asks",
                f"… of the hot tokens, repeated for again ({handles_each} handles)",
                None,
                (Target(Statistic.BEST, _MOST_PERCENT, at_least=False),),
            ),
        )
    ),
    measure,
)
