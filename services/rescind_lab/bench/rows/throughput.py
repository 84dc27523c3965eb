"""Rows `apply` and `commit`: the throughput of a sidecar and of the sequencer.

Each is measured in a process of its own, in events or revocations a second.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Sequence

from rescind.client.admin import RevocationItem
from rescind.client.settings import read_token
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.rows.http_load import run_wrk
from rescind_lab.bench.samples import Samples, Unit
from rescind_lab.bench.system import BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_APPLY_RATE = "rescind_lab.bench.processes.apply_rate"
_SEQUENCER_RATE = "rescind_lab.bench.processes.sequencer_rate"
_CONNECTIONS = 64
_CLIENTS = 2
_ITEMS = 1_000
_ROWS_PER_COMMIT = 256  # the batch size of the sequencer

_REVOKE = """
local number = 0
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. {token}
wrk.headers["Content-Type"] = "application/json"
request = function()
  number = number + 1
  local body = '{{"selector":["tree:tok_none-{run}-' .. number .. '"],"reason":"the bench"}}'
  wrk.headers["Idempotency-Key"] = "{run}-" .. number
  return wrk.format(nil, "/v1/revocations", nil, body)
end
"""


async def measure_apply(bench: BenchSystem) -> dict[str, Measurement]:
    """Apply events to a view with a table, in a process of its own."""
    bench.show_step("applying events")
    count = bench.choose(quick=5_000, full=100_000)
    rates = [
        await _read_rate(bench, _APPLY_RATE, count) for _ in range(bench.choose(quick=1, full=5))
    ]
    return {
        "apply": Measurement(
            Samples(Unit.PER_S, tuple(rates)), notes="batches of 256 into a view with its table"
        )
    }


async def measure_commit(bench: BenchSystem) -> dict[str, Measurement]:
    """Commit revocations in the sequencer, over HTTP, and plain INSERTs for comparison."""
    bench.show_step("committing revocations")
    count = bench.choose(quick=2_000, full=50_000)

    async def measure_sequencer() -> float:
        return await _read_rate(
            bench, _SEQUENCER_RATE, count, RESCIND_POSTGRES_DSN=bench.system.postgres
        )

    async def measure_inserts() -> float:
        return await _insert_rows(bench, batches=count // _ROWS_PER_COMMIT)

    sides: dict[str, MeasureRound] = {"sequencer": measure_sequencer, "inserts": measure_inserts}
    rounds = bench.choose(quick=1, full=3)
    timed = await measure_in_turns(sides, rounds=rounds, unit=Unit.PER_S)
    measured = {
        "commit.sequencer": Measurement(
            timed["sequencer"],
            timed["inserts"],
            "in the sequencer, 1,024 commands in its queue",
        ),
        "commit.batch": Measurement(
            Samples(Unit.PER_S, tuple([await _revoke_in_batches(bench) for _ in range(rounds)])),
            timed["inserts"],
            f"POST /v1/revocations/batch, {_ITEMS:,} in each, by {_CLIENTS} clients",
        ),
    }
    return measured | {"commit.http": await _measure_http(bench, rounds=rounds)}


async def _revoke_in_batches(bench: BenchSystem) -> float:
    """Revoke through the batch endpoint, from this process on the same machine."""
    calls = bench.choose(quick=1, full=6)
    run = secrets.token_hex(4)

    async def revoke(client: int) -> None:
        for call in range(calls):
            items = [
                RevocationItem(
                    selector=[f"tree:tok_none-{run}-{client}-{call}-{each}"], reason="the bench"
                )
                for each in range(_ITEMS)
            ]
            answer = await bench.admin.revoke_each(items)
            if answer["refused"]:
                raise LabError(f"a batch was partly refused: {answer['outcomes'][0]}")

    began_ns = clock.monotonic_raw_ns()
    async with asyncio.TaskGroup() as group:
        for client in range(_CLIENTS):
            group.create_task(revoke(client))
    return _CLIENTS * calls * _ITEMS / ((clock.monotonic_raw_ns() - began_ns) / 1e9)


async def _read_rate(bench: BenchSystem, module: str, count: int, **environment: str) -> float:
    """Run a process that measures itself, and return its rate a second. Raises LabError."""
    async with bench.run_process(module, str(count), **environment) as (_, facts):
        match facts:
            case {"seconds": float(seconds)}:
                return count / seconds
            case _:
                raise LabError(f"{module} does not report its time: {facts}")


async def _insert_rows(bench: BenchSystem, *, batches: int) -> float:
    """Insert rows as large as an event, in commits as large as a batch of the sequencer."""
    await bench.postgres.execute(
        "CREATE TABLE IF NOT EXISTS bench_rows (number bigint PRIMARY KEY, payload bytea)"
    )
    await bench.postgres.execute("TRUNCATE bench_rows")
    payloads = [b"x" * 150] * _ROWS_PER_COMMIT
    began_ns = clock.monotonic_raw_ns()
    for batch in range(batches):
        numbers = list(range(batch * _ROWS_PER_COMMIT, (batch + 1) * _ROWS_PER_COMMIT))
        await bench.postgres.execute(
            "INSERT INTO bench_rows SELECT * FROM unnest($1::bigint[], $2::bytea[])",
            numbers,
            payloads,
        )
    return batches * _ROWS_PER_COMMIT / ((clock.monotonic_raw_ns() - began_ns) / 1e9)


async def _measure_http(bench: BenchSystem, *, rounds: int) -> Measurement:
    wrk = shutil.which("wrk")
    rates: Sequence[float] = [
        await (_revoke_under_wrk(bench, wrk, run) if wrk else _revoke_in_sequence(bench, run))
        for run in range(rounds)
    ]
    client = (
        f"wrk, {_CONNECTIONS} connections"
        if wrk
        else "one client, one after the other (wrk is not installed)"
    )
    return Measurement(
        Samples(Unit.PER_S, tuple(rates)), notes=f"one revocation a call, under {client}"
    )


async def _revoke_under_wrk(bench: BenchSystem, wrk: str, run: int) -> float:
    token = read_token(bench.system.admin_token_file).reveal()
    script = write_private(
        bench.system.directory / "revoke.lua",
        _REVOKE.format(token=json.dumps(token), run=f"{run}-{clock.wall_us()}"),
    )
    return await run_wrk(
        wrk,
        script,
        bench.system.authority,
        connections=_CONNECTIONS,
        seconds=bench.choose(quick=1, full=3),
    )


async def _revoke_in_sequence(bench: BenchSystem, run: int) -> float:
    count = bench.choose(quick=20, full=500)
    began_ns = clock.monotonic_raw_ns()
    for number in range(count):
        await bench.admin.revoke(f"tree:tok_none-{run}-{number}", reason="the bench")
    return count / ((clock.monotonic_raw_ns() - began_ns) / 1e9)


APPLY = Row(
    "apply",
    (
        Line(
            "apply",
            "events applied by a sidecar",
            None,
            (Target(Statistic.BEST, 50_000, at_least=True),),
        ),
    ),
    measure_apply,
)
COMMIT = Row(
    "commit",
    (
        Line(
            "commit.sequencer",
            "revocations committed",
            "INSERT of rows of that size, 256 a commit",
            (Target(Statistic.BEST, 5_000, at_least=True),),
        ),
        Line(
            "commit.batch",
            "revocations committed, 1,000 a call",
            "INSERT of rows of that size, 256 a commit",
            (Target(Statistic.BEST, 5_000, at_least=True),),
        ),
        Line("commit.http", "revocations committed over HTTP, one a call"),
    ),
    measure_commit,
)
