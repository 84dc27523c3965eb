"""Row `leases`: the CPU time of an authority whose sidecars only renew their leases."""

import asyncio
import json
import secrets

from rescind.wire.heartbeat import INSTANCE_BYTES
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import read_cpu_s
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_HEARTBEATS = "rescind_lab.bench.processes.heartbeat_load"
_HEARTBEAT_S = 2.5
_WARM_UP_S = 3.0
_ROUND_S = 5.0
_MIN_SHARE = 0.9
_ENROL = """
INSERT INTO enrolments (instance, epoch, credential, service, enrolled_at)
SELECT instance, h.epoch, credential.token_id, 'bench', ledger_now()
FROM unnest($1::bytea[]) AS instance, ledger_head AS h, (
    SELECT token_id FROM tokens WHERE handles @> '{kind:sidecar}' ORDER BY token_id DESC LIMIT 1
) AS credential
"""
_COUNT_HEARTBEATS = """
SELECT coalesce(sum(counter), 0)::bigint AS heartbeats
FROM leases WHERE service = 'bench'
"""


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Send a fleet's heartbeats at the default interval, and measure the authority's CPU time."""
    fleet = bench.choose(quick=500, full=5_000)
    bench.show_step(f"renewing {fleet:,} leases")
    pid = bench.system.pids["authority"]
    assert pid is not None  # noqa: S101 - the bench's own system is embedded
    ledger = await bench.admin.fleet()
    keyring = json.loads((bench.system.directory / "keyring").read_text(encoding="utf-8"))
    parameters = {
        "nats": bench.system.nats,
        "master": keyring["master"],
        "first": await _enrol(bench, fleet),
        **{name: ledger[name] for name in ("epoch", "seq", "head")},
    }
    path = write_private(bench.system.directory / "heartbeats", json.dumps(parameters))
    cores: list[float] = []
    rates: list[float] = []
    async with bench.run_process(_HEARTBEATS, str(path), str(fleet), str(_HEARTBEAT_S)):
        await asyncio.sleep(_HEARTBEAT_S + _WARM_UP_S)
        for _ in range(bench.choose(quick=1, full=5)):
            heartbeats = await _count_heartbeats(bench)
            cpu_s, began_ns = read_cpu_s(pid), clock.monotonic_raw_ns()
            await asyncio.sleep(_ROUND_S)
            elapsed_s = (clock.monotonic_raw_ns() - began_ns) / 1e9
            cores.append((read_cpu_s(pid) - cpu_s) / elapsed_s)
            rates.append((await _count_heartbeats(bench) - heartbeats) / elapsed_s)
    if max(rates) < _MIN_SHARE * fleet / _HEARTBEAT_S:
        raise LabError(
            f"the authority counted only {max(rates):.0f} heartbeats/s of {fleet:,} leases"
        )
    note = (
        f"{fleet:,} leases, a heartbeat every {_HEARTBEAT_S:g} s each: {max(rates):,.0f}/s counted"
    )
    return {"leases": Measurement(Samples(Unit.CORES, tuple(cores)), notes=note)}


async def _enrol(bench: BenchSystem, fleet: int) -> str:
    """Insert the enrolments of a fleet with consecutive ids, and return the first id in hex."""
    first = secrets.randbits(8 * INSTANCE_BYTES - 1)
    ids = [each.to_bytes(INSTANCE_BYTES) for each in range(first, first + fleet)]
    await bench.postgres.execute(_ENROL, ids)
    return f"{first:x}"


async def _count_heartbeats(bench: BenchSystem) -> int:
    row = await bench.postgres.fetchrow(_COUNT_HEARTBEATS)
    assert row is not None  # noqa: S101 - an aggregate has a row
    return int(row["heartbeats"])


ROW = Row(
    "leases",
    (
        Line(
            "leases",
            "CPU of an authority with 5,000 leases",
            None,
            (Target(Statistic.P50, 0.5, at_least=False),),
        ),
    ),
    measure,
)
