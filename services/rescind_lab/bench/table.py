"""The table of rows: what `rescind bench` measures, in this order.

A row may leave out lines that a quick run has no time for; every other line must be there.
"""

from collections.abc import AsyncGenerator, Sequence

from rescind_lab.bench.comparison import Judged, Row, judge
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.rows import (
    check_under_load,
    cold_lookup,
    enforcement,
    forward_auth,
    hot_set,
    in_process_check,
    lease_cost,
    memory,
    throughput,
)

# `enforced` first: it needs three sidecars, and the others are measured best beside one.
# `hot` and `leases` last: ten million tokens, and five thousand sidecars that have ended, would
# disturb the others.
ROWS = (
    enforcement.ENFORCED,
    enforcement.FLEET,
    in_process_check.ROW,
    check_under_load.ROW,
    cold_lookup.ROW,
    forward_auth.ROW,
    throughput.APPLY,
    throughput.COMMIT,
    memory.ROW,
    hot_set.ROW,
    lease_cost.ROW,
)


def named(names: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows of these names, in the table's order.

    Without names, return all rows.
    """
    return tuple(row for row in ROWS if not names or row.name in names)


async def measure(
    rows: Sequence[Row], stage: BenchStage
) -> AsyncGenerator[tuple[Row, list[Judged]]]:
    """Measure row by row, and compare each row with its targets."""
    for row in rows:
        stage.show_step(row.name)
        measured = await row.measure(stage)
        yield row, [judge(line, measured[line.key]) for line in row.lines if line.key in measured]


def needs_three(rows: Sequence[Row]) -> bool:
    """Return True if one of the rows needs three real sidecars.

    Two of them are noise to the other rows.
    """
    return enforcement.ENFORCED in rows
