"""The table of rows: what `rescind bench` measures, in this order.

A row may leave out lines that a quick run has no time for; every other line must be there.
"""

from collections.abc import AsyncGenerator, Sequence

from rescind_cli.scenes.bench import (
    checking,
    fanout,
    hotset,
    http,
    leases,
    memory,
    rates,
    sight,
    stream,
)
from rescind_cli.scenes.bench.lines import Judged, Row, judge
from rescind_cli.scenes.bench.stage import Stage

# `enforced` first: it needs three sidecars, and the others are measured best beside one.
# `hot` and `leases` last: ten million tokens, and five thousand sidecars that are gone, would stand
# in the way of the others.
ROWS = (
    fanout.ENFORCED,
    fanout.FLEET,
    checking.ROW,
    stream.ROW,
    sight.ROW,
    http.ROW,
    rates.APPLY,
    rates.COMMIT,
    memory.ROW,
    hotset.ROW,
    leases.ROW,
)


def named(names: Sequence[str]) -> tuple[Row, ...]:
    """Give the rows of these names, in the table's order; all of them if there are none."""
    return tuple(row for row in ROWS if not names or row.name in names)


async def measure(rows: Sequence[Row], stage: Stage) -> AsyncGenerator[tuple[Row, list[Judged]]]:
    """Measure row by row, each held against its targets."""
    for row in rows:
        stage.say(row.name)
        measured = await row.measure(stage)
        yield row, [judge(line, measured[line.key]) for line in row.lines if line.key in measured]


def needs_three(rows: Sequence[Row]) -> bool:
    """Say whether a row wants three real sidecars; to the others two of them are noise."""
    return fanout.ENFORCED in rows
