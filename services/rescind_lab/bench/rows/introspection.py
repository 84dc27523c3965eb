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
    load = Load(bench.system.directory, seconds=bench.choose(quick=1, full=2))
    ours = await build_call(bench, token, client_id=redis_baseline.CLIENT_ID)
    async with run_redis_baseline(bench, token) as (url, theirs_secret):
        theirs = _call(url, token, redis_baseline.CLIENT_ID, theirs_secret)
        bench.show_step("/introspect under load")

        async def measure_ours() -> float:
            return await load.measure_per_s(ours)

        async def measure_theirs() -> float:
            return await load.measure_per_s(theirs)

        sides: dict[str, MeasureRound] = {"ours": measure_ours, "theirs": measure_theirs}
        timed = await measure_in_turns(sides, rounds=bench.choose(quick=1, full=5), unit=Unit.PER_S)
    return {"introspect.sidecar": Measurement(timed["ours"], timed["theirs"], load.notes)}


async def build_call(bench: BenchSystem, token: str, *, client_id: str) -> HttpCall:
    """Return an introspection at the sidecar, by a client that this adds. Raises LabError."""
    client = await bench.admin.add_client(client_id, introspect=True)
    if client.secret is None:
        raise LabError("the authority answered a new idempotency key with an old answer")
    return _call(bench.sidecar.http, token, client_id, client.secret.reveal())


def _call(url: str, token: str, client_id: str, secret: str) -> HttpCall:
    basic = base64.b64encode(f"{client_id}:{secret}".encode()).decode()
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
