"""Row `leases`: the cost to one authority of a fleet that only renews its leases."""

import asyncio
import json
import os
import secrets
from pathlib import Path

from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_HEARTBEATS = "rescind_lab.bench.processes.heartbeat_load"
_HEARTBEAT_S = 2.5
_WARM_S = 3.0
_ROUND_S = 5.0
_LEAST_SHARE = 0.9
_ENROL = """
INSERT INTO enrolments (instance, epoch, credential, service, enrolled_at)
SELECT instance, h.epoch, credential.token_id, 'bench', ledger_now()
FROM unnest($1::bytea[]) AS instance, ledger_head AS h, (
    SELECT token_id FROM tokens WHERE handles @> '{kind:sidecar}' ORDER BY token_id DESC LIMIT 1
) AS credential
"""
_COUNTED = """
SELECT count(*) AS leases, coalesce(sum(counter), 0)::bigint AS beats
FROM leases WHERE service = 'bench'
"""


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Send a fleet's heartbeats at the default interval, and measure the authority's CPU time."""
    fleet = stage.choose(quick=500, full=5_000)
    stage.show_step(f"renewing {fleet:,} leases")
    pid = stage.system.pids["authority"]
    assert pid is not None  # noqa: S101 - the bench's own system is embedded
    ledger = await stage.admin.fleet()
    keyring = json.loads((stage.system.directory / "keyring").read_text(encoding="utf-8"))
    parameters = {
        "nats": stage.system.nats,
        "master": keyring["master"],
        "first": await _enrolled(stage, fleet),
        **{name: ledger[name] for name in ("epoch", "seq", "head")},
    }
    path = write_private(stage.system.directory / "heartbeats", json.dumps(parameters))
    cores: list[float] = []
    rates: list[float] = []
    async with stage.process(_HEARTBEATS, str(path), str(fleet), str(_HEARTBEAT_S)):
        await asyncio.sleep(_HEARTBEAT_S + _WARM_S)
        for _ in range(stage.choose(quick=1, full=5)):
            before = await _counted(stage), _busy_s(pid), clock.monotonic_raw_ns()
            await asyncio.sleep(_ROUND_S)
            spent_s = (clock.monotonic_raw_ns() - before[2]) / 1e9
            cores.append((_busy_s(pid) - before[1]) / spent_s)
            rates.append((await _counted(stage) - before[0]) / spent_s)
    if max(rates) < _LEAST_SHARE * fleet / _HEARTBEAT_S:
        raise SceneError(f"only {max(rates):.0f} heartbeats a second counted, of {fleet:,} leases")
    note = f"{fleet:,} leases at a heartbeat each {_HEARTBEAT_S:g} s: {max(rates):,.0f}/s counted"
    return {"leases": Measured(Samples(Unit.CORES, tuple(cores)), notes=note)}


async def _enrolled(stage: BenchStage, fleet: int) -> str:
    """Enrol a fleet in the table, under consecutive ids, and return the first one in hex."""
    first = secrets.randbits(8 * INSTANCE_BYTES - 1)
    ids = [each.to_bytes(INSTANCE_BYTES) for each in range(first, first + fleet)]
    await stage.postgres.execute(_ENROL, ids)
    return f"{first:x}"


async def _counted(stage: BenchStage) -> int:
    found = await stage.postgres.fetchrow(_COUNTED)
    assert found is not None  # noqa: S101 - an aggregate has a row
    return int(found["beats"])


def _busy_s(pid: int) -> float:
    """Return the CPU time of a process (proc(5): utime and stime, in clock ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


ROW = Row(
    "leases",
    (
        Line(
            "leases",
            "the CPU of an authority with 5,000 leases",
            None,
            (Target(Statistic.P50, 0.5, at_least=False),),
        ),
    ),
    measure,
)
