"""What is said of a sidecar by how long it was silent."""

from typing import Any

import pytest

from rescind.core import ledger
from rescind_authority.ports.leases import Instance
from rescind_authority.ports.ledger import LedgerTip
from rescind_authority.usecases.enforcement.acknowledgements import Acknowledgements
from rescind_authority.usecases.read_model.inspector import Inspector
from rescind_runtime.clock import SystemClock

TERM_MS = 2_000
NOW_US = 1_800_000_000_000_000
NOTHING: Any = None


def looker(silent_ms: int, *, released: bool) -> Inspector:
    class Rows:
        async def fleet(self) -> tuple[Instance, ...]:
            seen_us = NOW_US - silent_ms * 1000
            ended_us = seen_us if released else None
            return (
                Instance(bytes(16), "s", "h", "0", "strict", 1, 0, 0, seen_us, seen_us, ended_us),
            )

    class Ledger:
        async def tip(self) -> LedgerTip:
            return LedgerTip(ledger.genesis(1), TERM_MS, NOW_US)

    leases: Any = Rows()
    line: Any = Ledger()
    return Inspector(
        records=NOTHING,
        token_search=NOTHING,
        revocations=NOTHING,
        leases=leases,
        ledger=line,
        recent=NOTHING,
        prefix="rsc",
        acknowledgements=Acknowledgements(SystemClock()),
    )


@pytest.mark.parametrize(
    ("silent_ms", "released", "state", "overdue"),
    [
        (0, False, "live", False),
        (500, False, "live", False),
        (1_000, False, "live", False),
        (1_001, False, "live", True),
        (2_000, False, "live", True),
        (2_001, False, "silent", False),
        (1_500, True, "released", False),
    ],
)
async def test_a_live_sidecar_is_overdue_when_it_missed_a_heartbeat(
    silent_ms: int, released: bool, state: str, overdue: bool
) -> None:
    (seen,) = (await looker(silent_ms, released=released).fleet(ended=True)).instances
    assert (seen.liveness, seen.overdue) == (state, overdue)


TEN_MINUTES_MS = 600_000


@pytest.mark.parametrize(
    ("silent_ms", "released", "listed"),
    [
        (TEN_MINUTES_MS - 1, False, 1),
        (TEN_MINUTES_MS, False, 0),
        (0, True, 0),
    ],
)
async def test_a_sidecar_that_ended_is_left_out_and_counted(
    silent_ms: int, released: bool, listed: int
) -> None:
    fleet = await looker(silent_ms, released=released).fleet()
    assert (len(fleet.instances), fleet.ended) == (listed, 1 - listed)
