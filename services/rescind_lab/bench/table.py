"""The table of all rows, in the order in which `rescind bench` measures them.

In a quick run, a row may omit lines that take too long.
"""

from collections.abc import AsyncGenerator, Sequence

from rescind_lab.bench.comparison import LineResult, Row, compare
from rescind_lab.bench.rows import (
    check_under_load,
    enforcement,
    external_authorization,
    first_check,
    flood,
    forward_auth,
    hot_set,
    in_process_check,
    introspection,
    lease_cost,
    memory,
    proxied_calls,
    throughput,
)
from rescind_lab.bench.system import BenchSystem

# `enforced` is first: it needs three sidecars, and two of them would disturb the other rows.
# `hot` and `leases` are last: their ten million tokens and five thousand expired leases would
# disturb the other rows.
ROWS = (
    enforcement.ENFORCED,
    enforcement.FLEET,
    in_process_check.ROW,
    check_under_load.ROW,
    first_check.ROW,
    forward_auth.ROW,
    introspection.ROW,
    external_authorization.ROW,
    proxied_calls.ROW,
    flood.ROW,
    throughput.APPLY,
    throughput.COMMIT,
    memory.ROW,
    hot_set.ROW,
    lease_cost.ROW,
)


def select_rows(names: Sequence[str]) -> tuple[Row, ...]:
    """Return the rows with these names, or all rows without names, in the table's order."""
    return tuple(row for row in ROWS if not names or row.name in names)


async def measure_rows(
    rows: Sequence[Row], bench: BenchSystem
) -> AsyncGenerator[tuple[Row, list[LineResult]]]:
    """Measure row by row, and compare each line with its targets."""
    for row in rows:
        bench.show_step(row.name)
        measured = await row.measure(bench)
        yield row, [compare(line, measured[line.key]) for line in row.lines if line.key in measured]


def need_three_sidecars(rows: Sequence[Row]) -> bool:
    """Return True if one of the rows needs three real sidecars."""
    return enforcement.ENFORCED in rows
