"""Row `events`: a check while 1,000 events a second arrive, for 8, 20 and 40 handles.

The hot set is so large that the generation has changed at every check, which then compares the
slots of its token. With a small set, few checks compare slots, and the row equals row `check`.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from rescind import Verifier
from rescind.core import token_format
from rescind.core.times import NS_PER_S
from rescind.core.token_format import Kind
from rescind.wire.socket_protocol import Check, Verdict
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns, measure_per_call_us
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.socket_client import SocketClient
from rescind_lab.bench.system import BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock

EVENTS_PER_S = 1_000

_MAX_US = {8: 2.0, 20: 3.0, 40: 4.0}
_MAX_PERCENT = 1.0
_TOKENS = 5_000
_FAKE_SIDECAR_MODULE = "rescind_lab.bench.processes.fake_sidecar"


@dataclass(frozen=True, slots=True)
class _FakeSidecar:
    """A connection to a fake sidecar, and a verifier that has cached the hot set."""

    verifier: Verifier
    client: SocketClient
    hot: list[str]

    async def check_all(self) -> float:
        return measure_per_call_us(self.verifier.check, self.hot, calls=len(self.hot))

    def count_lookups(self) -> int:
        """Return the number of look-ups at the fake sidecar. Raises LabError."""
        response = self.client.request(Check(0, self.hot[0], (), None))
        if not isinstance(response, Verdict):
            raise LabError("the fake sidecar does not answer a check")
        return response.as_of


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Measure each record size with events and without events."""
    measured: dict[str, Measurement] = {}
    for handles_each in _MAX_US:
        bench.show_step(f"checking under events, {handles_each} handles")
        measured |= await _measure(bench, handles_each)
    return measured


async def _measure(bench: BenchSystem, handles_each: int) -> dict[str, Measurement]:
    rounds = bench.choose(quick=20, full=150)
    async with (
        _run_fake_sidecar(bench, handles_each, per_s=0) as quiet,
        _run_fake_sidecar(bench, handles_each, per_s=EVENTS_PER_S) as busy,
    ):
        sides: dict[str, MeasureRound] = {"quiet": quiet.check_all, "busy": busy.check_all}
        await busy.check_all()  # looks up the tokens that an event hit since their first check
        lookups, began_ns = busy.count_lookups(), clock.monotonic_raw_ns()
        timed = await measure_in_turns(sides, rounds=rounds, unit=Unit.US)
        seconds = (clock.monotonic_raw_ns() - began_ns) / NS_PER_S
        repeated = busy.count_lookups() - lookups
    return {
        f"events.{handles_each}": Measurement(
            timed["busy"], timed["quiet"], f"{len(busy.hot):,} hot tokens, in turn"
        ),
        f"events.{handles_each}.asks": Measurement(
            Samples(Unit.PERCENT_PER_S, (100 * repeated / seconds / len(busy.hot),)),
            notes=f"{repeated / seconds:.0f} look-ups/s for {len(busy.hot):,} hot tokens",
        ),
    }


@asynccontextmanager
async def _run_fake_sidecar(
    bench: BenchSystem, handles_each: int, *, per_s: int
) -> AsyncGenerator[_FakeSidecar]:
    path = bench.system.directory / f"{handles_each}-{per_s}.sock"
    async with bench.run_process(_FAKE_SIDECAR_MODULE, str(path), str(handles_each), str(per_s)):
        verifier = Verifier.attach(path)
        hot = [make_token(number) for number in range(bench.choose(quick=1_000, full=_TOKENS))]
        measure_per_call_us(verifier.check, hot, calls=len(hot))  # the verifier caches the tokens
        try:
            with SocketClient.open(path) as client:
                yield _FakeSidecar(verifier, client, hot)
        finally:
            verifier.close()


def make_token(number: int) -> str:
    """Return a text in the format of a token. Only a fake sidecar accepts it."""
    return token_format.mint(
        kind=Kind.AGENT, random=number.to_bytes(token_format.RANDOM_BYTES), edge_key=bytes(32)
    ).reveal()


ROW = Row(
    "events",
    tuple(
        line
        for handles_each, max_us in _MAX_US.items()
        for line in (
            Line(
                f"events.{handles_each}",
                f"check under {EVENTS_PER_S:,} events/s, {handles_each} handles",
                "the same without events",
                (Target(Statistic.P50, max_us, at_least=False),),
            ),
            Line(
                f"events.{handles_each}.asks",
                f"… hot tokens looked up again, {handles_each} handles",
                None,
                (Target(Statistic.BEST, _MAX_PERCENT, at_least=False),),
            ),
        )
    ),
    measure,
)
