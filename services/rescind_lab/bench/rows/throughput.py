"""Rows `apply` and `commit`: the throughput of a sidecar and of the sequencer.

Each is measured alone on a core, in events or revocations a second.
"""

import asyncio
import json
import secrets
import shutil
from collections.abc import Sequence

from rescind.client.admin import RevocationItem
from rescind.client.settings import read_token
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import BenchStage
from rescind_lab.bench.rows.forward_auth import run_wrk
from rescind_lab.bench.samples import Samples, Side, Unit, in_turns
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.data_dir import write_private

_SIDECAR = "rescind_lab.bench.processes.apply_rate"
_AUTHORITY = "rescind_lab.bench.processes.sequencer_rate"
_CONNECTIONS = 64
_CALLERS = 2
_ITEMS = 1_000
_ROWS = 256  # as many as a batch of the sequencer

_REVOKE = """
local number = 0
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. {token}
wrk.headers["Content-Type"] = "application/json"
request = function()
  number = number + 1
  local body = '{{"selector":["tree:tok_nobody-{run}-' .. number .. '"],"reason":"the bench"}}'
  wrk.headers["Idempotency-Key"] = "{run}-" .. number
  return wrk.format(nil, "/v1/revocations", nil, body)
end
"""


async def measure_apply(stage: BenchStage) -> dict[str, Measured]:
    """Apply events to a view with a table, in a process of its own."""
    stage.show_step("applying events")
    count = stage.choose(quick=5_000, full=100_000)
    rates = [await _rate(stage, _SIDECAR, count) for _ in range(stage.choose(quick=1, full=5))]
    return {
        "apply": Measured(
            Samples(Unit.PER_S, tuple(rates)), notes="batches of 256 into a view with its table"
        )
    }


async def measure_commit(stage: BenchStage) -> dict[str, Measured]:
    """Commit revocations: in the sequencer beside plain INSERTs, and over HTTP."""
    stage.show_step("committing revocations")
    count = stage.choose(quick=2_000, full=50_000)

    async def sequencer() -> float:
        return await _rate(stage, _AUTHORITY, count, RESCIND_POSTGRES_DSN=stage.system.postgres)

    async def inserts() -> float:
        return await _insert(stage, batches=count // _ROWS)

    sides: dict[str, Side] = {"sequencer": sequencer, "inserts": inserts}
    rounds = stage.choose(quick=1, full=3)
    timed = await in_turns(sides, rounds=rounds, unit=Unit.PER_S)
    measured = {
        "commit.sequencer": Measured(
            timed["sequencer"],
            timed["inserts"],
            "in the sequencer, 1,024 waiting at once",
        ),
        "commit.batch": Measured(
            Samples(Unit.PER_S, tuple([await _batches(stage) for _ in range(rounds)])),
            timed["inserts"],
            f"POST /v1/revocations/batch, {_ITEMS:,} in each, by {_CALLERS} callers",
        ),
    }
    return measured | {"commit.http": await _over_http(stage, rounds=rounds)}


async def _batches(stage: BenchStage) -> float:
    """Revoke through the batch endpoint, from this process on the same machine."""
    calls = stage.choose(quick=1, full=6)
    run = secrets.token_hex(4)

    async def caller(name: int) -> None:
        for call in range(calls):
            items = [
                RevocationItem(
                    selector=[f"tree:tok_nobody-{run}-{name}-{call}-{each}"], reason="the bench"
                )
                for each in range(_ITEMS)
            ]
            done = await stage.admin.revoke_each(items)
            if done["refused"]:
                raise SceneError(f"a batch was refused in part: {done['outcomes'][0]}")

    began_ns = clock.monotonic_raw_ns()
    async with asyncio.TaskGroup() as group:
        for name in range(_CALLERS):
            group.create_task(caller(name))
    return _CALLERS * calls * _ITEMS / ((clock.monotonic_raw_ns() - began_ns) / 1e9)


async def _rate(stage: BenchStage, module: str, count: int, **environment: str) -> float:
    """Run a process that measures itself, and return its rate a second. Raises SceneError."""
    async with stage.process(module, str(count), **environment) as (_, facts):
        match facts:
            case {"seconds": float(seconds)}:
                return count / seconds
            case _:
                raise SceneError(f"{module} does not report its time: {facts}")


async def _insert(stage: BenchStage, *, batches: int) -> float:
    """Insert rows as large as an event, in commits as large as a batch of the sequencer."""
    await stage.postgres.execute(
        "CREATE TABLE IF NOT EXISTS bench_rows (number bigint PRIMARY KEY, payload bytea)"
    )
    await stage.postgres.execute("TRUNCATE bench_rows")
    payloads = [b"x" * 150] * _ROWS
    began_ns = clock.monotonic_raw_ns()
    for batch in range(batches):
        numbers = list(range(batch * _ROWS, (batch + 1) * _ROWS))
        await stage.postgres.execute(
            "INSERT INTO bench_rows SELECT * FROM unnest($1::bigint[], $2::bytea[])",
            numbers,
            payloads,
        )
    return batches * _ROWS / ((clock.monotonic_raw_ns() - began_ns) / 1e9)


async def _over_http(stage: BenchStage, *, rounds: int) -> Measured:
    wrk = shutil.which("wrk")
    rates: Sequence[float] = [
        await (_revoke_under_wrk(stage, wrk, run) if wrk else _revoke_in_sequence(stage, run))
        for run in range(rounds)
    ]
    client = (
        f"wrk, {_CONNECTIONS} connections" if wrk else "one client, one after the other: no wrk"
    )
    return Measured(
        Samples(Unit.PER_S, tuple(rates)), notes=f"one revocation a call, under {client}"
    )


async def _revoke_under_wrk(stage: BenchStage, wrk: str, run: int) -> float:
    token = read_token(stage.system.admin_token_file).reveal()
    script = write_private(
        stage.system.directory / "revoke.lua",
        _REVOKE.format(token=json.dumps(token), run=f"{run}-{clock.wall_us()}"),
    )
    return await run_wrk(
        wrk,
        script,
        stage.system.authority,
        connections=_CONNECTIONS,
        seconds=stage.choose(quick=1, full=3),
    )


async def _revoke_in_sequence(stage: BenchStage, run: int) -> float:
    count = stage.choose(quick=20, full=500)
    began_ns = clock.monotonic_raw_ns()
    for number in range(count):
        await stage.admin.revoke(f"tree:tok_nobody-{run}-{number}", reason="the bench")
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
            "INSERTs of one such row, 256 to a commit",
            (Target(Statistic.BEST, 5_000, at_least=True),),
        ),
        Line(
            "commit.batch",
            "revocations committed, 1,000 a call",
            "INSERTs of one such row, 256 to a commit",
            (Target(Statistic.BEST, 5_000, at_least=True),),
        ),
        Line("commit.http", "revocations committed over HTTP, one a call"),
    ),
    measure_commit,
)
