"""Row `hot`: a hot set of tokens, with 10³, 10⁵ and 10⁷ tokens in the table `tokens`.

By the design, the time of a check and the time of a first check do not depend on the size of the
table. The row fills the table, and measures both times at each size. It also measures the time
from a revocation until it is enforced: of a tree with all tokens, and of one token.
"""

from pathlib import Path

from rescind import Verifier
from rescind.core.times import NS_PER_MS
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns, measure_per_call_us
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import BenchSystem
from rescind_runtime import clock

_SIZES = (1_000, 100_000, 10_000_000)
_QUICK_SIZES = _SIZES[:2]
_FILL = Path(__file__).with_name("fill.sql")
_TOKENS_PER_INSERT = 500_000
_FILL_DEADLINE_S = 600
_HOT_TOKENS = 500
_INDEPENDENT_OF_SIZE = Target(Statistic.RATIO, 1 / 1.5, at_least=True)


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Fill the table step by step, and measure all lines at each step."""
    checks: dict[int, Samples] = {}
    first_checks: dict[int, Samples] = {}
    measured: dict[str, Measurement] = {}
    filled = 0
    for size in select_sizes(bench):
        bench.show_step(f"filling the table with {size:,} tokens")
        await _fill(bench, first=filled + 1, last=size)
        filled = size
        bench.show_step(f"checking the hot set, with {size:,} tokens in the table")
        checks[size], first_checks[size] = await _measure_checks(bench)
        measured[f"hot.revoke.{size}"] = await _measure_revocations(bench, size)
    for kind, by_size in (("check", checks), ("sight", first_checks)):
        for size, samples in by_size.items():
            measured[f"hot.{kind}.{size}"] = Measurement(samples, by_size[_SIZES[0]])
    return measured


def select_sizes(bench: BenchSystem) -> tuple[int, ...]:
    """Return the numbers of tokens in the table, step by step."""
    return _QUICK_SIZES if bench.quick else _SIZES


async def _fill(bench: BenchSystem, *, first: int, last: int) -> None:
    statement = _FILL.read_text(encoding="utf-8")
    # Drop the index that only lists use: maintaining it would add most of an hour to the fill.
    await bench.postgres.execute("DROP INDEX IF EXISTS tokens_handles")
    for start in range(first, last + 1, _TOKENS_PER_INSERT):
        end = min(start + _TOKENS_PER_INSERT - 1, last)
        await bench.postgres.execute(statement, start, end, timeout=_FILL_DEADLINE_S)
        bench.show_step(f"filling the table with {last:,} tokens: {end:,}")
    await bench.postgres.execute("ANALYZE tokens", timeout=_FILL_DEADLINE_S)
    await bench.postgres.execute("CHECKPOINT", timeout=_FILL_DEADLINE_S)


async def _measure_checks(bench: BenchSystem) -> tuple[Samples, Samples]:
    """Return the times of checks of cached tokens, and of first checks, in microseconds."""
    rounds = bench.choose(quick=2, full=5)
    verifier = Verifier.attach(bench.sidecar.socket)
    first_checks: list[float] = []
    hot: list[str] = []
    for _ in range(rounds):
        hot = await bench.issue(bench.choose(quick=50, full=_HOT_TOKENS))
        first_checks.append(measure_per_call_us(verifier.check, hot, calls=len(hot)))

    async def measure_round() -> float:
        return measure_per_call_us(verifier.check, hot * 20, calls=20 * len(hot))

    sides: dict[str, MeasureRound] = {"ours": measure_round}
    timed = await measure_in_turns(sides, rounds=5 * rounds, unit=Unit.US)
    verifier.close()
    return timed["ours"], Samples(Unit.US, tuple(first_checks))


async def _measure_revocations(bench: BenchSystem, size: int) -> Measurement:
    """Revoke the tree of all tokens, and one token, in turns, until each is enforced."""

    def build_revocation(selector: str) -> MeasureRound:
        async def measure_round() -> float:
            began_ns = clock.monotonic_raw_ns()
            await bench.admin.revoke(selector, reason="the bench", wait=True)
            return (clock.monotonic_raw_ns() - began_ns) / NS_PER_MS

        return measure_round

    sides = {
        "tree": build_revocation("tree:tok_fill-root"),
        "one": build_revocation(f"token:tok_fill-{size}"),
    }
    timed = await measure_in_turns(sides, rounds=bench.choose(quick=3, full=20), unit=Unit.MS)
    return Measurement(timed["tree"], timed["one"], f"the tree has {size:,} tokens")


def _build_lines(size: int) -> tuple[Line, ...]:
    in_table, smallest = f"{size:,} tokens in the table", f"with {_SIZES[0]:,} in the table"
    targets = () if size == _SIZES[0] else (_INDEPENDENT_OF_SIZE,)
    return (
        Line(f"hot.check.{size}", f"check of a hot set, {in_table}", smallest, targets),
        Line(f"hot.sight.{size}", f"first check of a token, {in_table}", smallest, targets),
        Line(
            f"hot.revoke.{size}",
            f"revoking a tree of {size:,} tokens, until enforced",
            "revoking one token, until enforced",
            (Target(Statistic.RATIO, 0.5, at_least=True),),
        ),
    )


ROW = Row("hot", tuple(line for size in _SIZES for line in _build_lines(size)), measure)
