"""Row `introspect`: `/introspect` of the sidecar, against an introspection backed by Redis."""

# redis-py leaves types open:
# pyright: reportUnknownMemberType=false

import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator

import redis.asyncio

from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns
from rescind_lab.bench.processes import redis_baseline
from rescind_lab.bench.rows.http_load import HttpCall, Load
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import SCOPE, SUBJECT, BenchSystem
from rescind_lab.errors import LabError


@contextlib.asynccontextmanager
async def run_redis_baseline(bench: BenchSystem, token: str) -> AsyncGenerator[tuple[str, str]]:
    """Run the baseline for the block, with one token in Redis.

    Yields its URL, and the secret of its client.
    """
    document = json.dumps({"sub": SUBJECT, "scope": SCOPE, "token_type": "Bearer"})
    key = redis_baseline.KEY + hashlib.sha256(token.encode()).hexdigest()
    async with redis.asyncio.Redis(host="127.0.0.1", port=bench.redis_port) as client:
        await client.set(key, document)
    async with bench.run_process(redis_baseline.__name__, str(bench.redis_port)) as (_, facts):
        yield str(facts["url"]), str(facts["client_secret"])


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Load both sides in turns, with one token and an authenticated client."""
    (token,) = await bench.issue(1)
    client = await bench.admin.add_client(redis_baseline.CLIENT_ID, introspect=True)
    if client.secret is None:
        raise LabError("the authority answered a new idempotency key with an old answer")
    load = Load(bench.system.directory, seconds=bench.choose(quick=1, full=2))
    ours = _call(bench.sidecar.http, token, client.secret.reveal())
    async with run_redis_baseline(bench, token) as (url, theirs_secret):
        theirs = _call(url, token, theirs_secret)
        bench.show_step("/introspect under load")

        async def measure_ours() -> float:
            return await load.measure_per_s(ours)

        async def measure_theirs() -> float:
            return await load.measure_per_s(theirs)

        sides: dict[str, MeasureRound] = {"ours": measure_ours, "theirs": measure_theirs}
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.PER_S)
    return {"introspect.sidecar": Measurement(timed["ours"], timed["theirs"], load.notes)}


def _call(url: str, token: str, secret: str) -> HttpCall:
    basic = base64.b64encode(f"{redis_baseline.CLIENT_ID}:{secret}".encode()).decode()
    return HttpCall(f"{url}/introspect", f"Basic {basic}", f"token={token}")


ROW = Row(
    "introspect",
    (
        Line(
            "introspect.sidecar",
            "/introspect, one worker",
            "an introspection backed by Redis, on uvicorn",
            (Target(Statistic.BEST, 20_000, at_least=True),),
        ),
    ),
    measure,
)
