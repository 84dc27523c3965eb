"""Row `hot`: a hot set of tokens, with 10³, 10⁵ and 10⁷ tokens in the table behind it.

By the design, the times of checks and first sights do not depend on the size of the table. Here the
table is filled, and both are measured at each size. The revocation of a tree with all tokens is
measured beside that of one token, both until they are enforced.
"""

from pathlib import Path

from rescind import Verifier
from rescind.core.times import NS_PER_MS
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Samples, Side, Unit, in_turns, per_call_us
from rescind_runtime import clock

_SIZES = (1_000, 100_000, 10_000_000)
_QUICK_SIZES = _SIZES[:2]
_FILL = Path(__file__).with_name("fill.sql")
_AT_ONCE = 500_000
_FILL_DEADLINE_S = 600
_HOT = 500
_FLAT = Target(Statistic.RATIO, 1 / 1.5, at_least=True)


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Fill the table step by step, and measure the same at each step."""
    checks: dict[int, Samples] = {}
    sights: dict[int, Samples] = {}
    measured: dict[str, Measured] = {}
    there = 0
    for size in sizes(stage):
        stage.show_step(f"filling the table with {size:,} tokens")
        await _fill(stage, first=there + 1, last=size)
        there = size
        stage.show_step(f"the hot set, with {size:,} tokens behind it")
        checks[size], sights[size] = await _hot_set(stage)
        measured[f"hot.revoke.{size}"] = await _tree(stage, size)
    for kind, seen in (("check", checks), ("sight", sights)):
        for size, samples in seen.items():
            measured[f"hot.{kind}.{size}"] = Measured(samples, seen[_SIZES[0]])
    return measured


def sizes(stage: BenchStage) -> tuple[int, ...]:
    """Return the numbers of tokens in the table, step by step."""
    return _QUICK_SIZES if stage.quick else _SIZES


async def _fill(stage: BenchStage, *, first: int, last: int) -> None:
    statement = _FILL.read_text(encoding="utf-8")
    # No check reads the index for lists, and keeping it during the fill takes most of an hour.
    await stage.postgres.execute("DROP INDEX IF EXISTS tokens_handles")
    for start in range(first, last + 1, _AT_ONCE):
        end = min(start + _AT_ONCE - 1, last)
        await stage.postgres.execute(statement, start, end, timeout=_FILL_DEADLINE_S)
        stage.show_step(f"filling the table with {last:,} tokens: {end:,}")
    await stage.postgres.execute("ANALYZE tokens", timeout=_FILL_DEADLINE_S)
    await stage.postgres.execute("CHECKPOINT", timeout=_FILL_DEADLINE_S)


async def _hot_set(stage: BenchStage) -> tuple[Samples, Samples]:
    """Measure checks of seen tokens, and first sights of unseen tokens."""
    rounds = stage.choose(quick=2, full=5)
    verifier = Verifier.attach(stage.sidecar.socket)
    firsts: list[float] = []
    hot: list[str] = []
    for _ in range(rounds):
        hot = await stage.issue(stage.choose(quick=50, full=_HOT))
        firsts.append(per_call_us(verifier.check, hot, calls=len(hot)))

    async def side() -> float:
        return per_call_us(verifier.check, hot * 20, calls=20 * len(hot))

    sides: dict[str, Side] = {"ours": side}
    timed = await in_turns(sides, rounds=5 * rounds, unit=Unit.US)
    verifier.close()
    return timed["ours"], Samples(Unit.US, tuple(firsts))


async def _tree(stage: BenchStage, size: int) -> Measured:
    """Revoke the tree of all tokens, and one token, in turns."""

    def revoking(selector: str) -> Side:
        async def side() -> float:
            began_ns = clock.monotonic_raw_ns()
            await stage.admin.revoke(selector, reason="the bench", wait=True)
            return (clock.monotonic_raw_ns() - began_ns) / NS_PER_MS

        return side

    sides = {
        "tree": revoking("tree:tok_fill-root"),
        "one": revoking(f"token:tok_fill-{size}"),
    }
    timed = await in_turns(sides, rounds=stage.choose(quick=3, full=20), unit=Unit.MS)
    return Measured(timed["tree"], timed["one"], f"the tree has {size:,} tokens")


def _lines(size: int) -> tuple[Line, ...]:
    behind, first = f"{size:,} tokens behind it", f"with {_SIZES[0]:,} behind it"
    flat = () if size == _SIZES[0] else (_FLAT,)
    return (
        Line(f"hot.check.{size}", f"check of a hot set, {behind}", first, flat),
        Line(f"hot.sight.{size}", f"first sight ever, {behind}", first, flat),
        Line(
            f"hot.revoke.{size}",
            f"revoking a tree of {size:,} tokens, until enforced",
            "revoking one token, until enforced",
            (Target(Statistic.RATIO, 0.5, at_least=True),),
        ),
    )


ROW = Row("hot", tuple(line for size in _SIZES for line in _lines(size)), measure)
