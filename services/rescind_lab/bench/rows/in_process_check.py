# redis-py leaves types open:
# pyright: reportUnknownMemberType=false
"""Row `check`: the check of a token that the process has cached, against alternatives."""

import contextlib
from collections.abc import Callable
from functools import partial
from itertools import repeat

import jwt
import redis
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from rescind import Verifier
from rescind.core import token_format
from rescind.core.verdict import Allowed
from rescind_lab.bench.comparison import Line, Measurement, Row, Statistic, Target
from rescind_lab.bench.measurement import MeasureRound, measure_in_turns, measure_per_call_us
from rescind_lab.bench.samples import Unit
from rescind_lab.bench.system import SCOPE, SUBJECT, BenchSystem
from rescind_lab.errors import LabError
from rescind_runtime import clock

_CALLS = 20_000  # checks of rescind in a round, which take about 10 ms
_ALTERNATIVE_CALLS = 300
_RSA_BITS = 2048
_KEY = "bench:record"
_PATTERNS = ("tools:call:github/*", "tools:call:jira/*", "files:read:*")
_MATCHED = "tools:call:github/issues"
_FASTER = Target(Statistic.RATIO, 50, at_least=True)

_ALTERNATIVES = {
    "redis_tcp": ("redis-py GET over TCP", (_FASTER, Target(Statistic.BEST, 1.0, at_least=False))),
    "redis_unix": ("redis-py GET over a unix socket", ()),
    "jwt_hs256": ("PyJWT HS256", (_FASTER,)),
    "jwt_rs256": ("PyJWT RS256", ()),
    "jwt_es256": ("PyJWT ES256", ()),
    "postgres": ("asyncpg SELECT by primary key", ()),
}


async def measure(bench: BenchSystem) -> dict[str, Measurement]:
    """Check one cached token with a scope, in turns with every alternative."""
    (token,) = await bench.issue(1)
    with_patterns = (await bench.admin.issue(subject=SUBJECT, kind="agent", scopes=_PATTERNS)).token
    assert with_patterns is not None  # noqa: S101 - it was just issued
    rounds = bench.choose(quick=3, full=15)
    with contextlib.ExitStack() as clients:
        verifier = Verifier.attach(bench.sidecar.socket)
        clients.callback(verifier.close)
        if not isinstance(verifier.check(token, require={SCOPE}), Allowed):
            raise LabError("the sidecar denies a token that was just issued")
        sides: dict[str, MeasureRound] = {
            "ours": _build_ours(verifier, token, SCOPE),
            "pattern": _build_ours(verifier, with_patterns.reveal(), _MATCHED),
        }
        sides |= (
            _build_redis(bench, clients)
            | _build_jwt()
            | {"postgres": _build_postgres(bench, token)}
        )
        measured = await measure_in_turns(sides, rounds=rounds, unit=Unit.US)
    alternatives = {
        f"check.{name}": Measurement(measured["ours"], measured[name]) for name in _ALTERNATIVES
    }
    note = f"{_MATCHED} among {len(_PATTERNS)} patterns"
    return alternatives | {
        "check.pattern": Measurement(measured["pattern"], measured["ours"], note)
    }


def _build_ours(verifier: Verifier, token: str, scope: str) -> MeasureRound:
    return _build_blocking(partial(verifier.check, require=frozenset({scope})), token, _CALLS)


def _build_redis(bench: BenchSystem, clients: contextlib.ExitStack) -> dict[str, MeasureRound]:
    connections = {
        "redis_tcp": redis.Redis(port=bench.redis_port),
        "redis_unix": redis.Redis.from_url(bench.system.redis),
    }
    for client in connections.values():
        clients.callback(client.close)
        client.set(_KEY, b"x" * 400)  # about the size of a record
    return {
        name: _build_blocking(client.get, _KEY, _ALTERNATIVE_CALLS)
        for name, client in connections.items()
    }


def _build_jwt() -> dict[str, MeasureRound]:
    claims = {"sub": SUBJECT, "scope": SCOPE, "iat": _now_s(), "exp": _now_s() + 3600}
    rsa_key = rsa.generate_private_key(public_exponent=65_537, key_size=_RSA_BITS)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    secret = "s" * 32
    signed: dict[str, tuple[str, str | rsa.RSAPublicKey | ec.EllipticCurvePublicKey]] = {
        "HS256": (jwt.encode(claims, secret, "HS256"), secret),
        "RS256": (jwt.encode(claims, rsa_key, "RS256"), rsa_key.public_key()),
        "ES256": (jwt.encode(claims, ec_key, "ES256"), ec_key.public_key()),
    }
    return {
        f"jwt_{algorithm.lower()}": _build_blocking(
            partial(jwt.decode, key=key, algorithms=[algorithm]), text, _ALTERNATIVE_CALLS
        )
        for algorithm, (text, key) in signed.items()
    }


def _now_s() -> int:
    return clock.wall_us() // 1_000_000


def _build_postgres(bench: BenchSystem, token: str) -> MeasureRound:
    query = "SELECT subject, scopes, expires_at FROM tokens WHERE token_hash = $1"

    async def measure_round() -> float:
        token_hash = token_format.digest(token)
        began_ns = clock.monotonic_raw_ns()
        for _ in range(_ALTERNATIVE_CALLS):
            await bench.postgres.fetchrow(query, token_hash)
        return (clock.monotonic_raw_ns() - began_ns) / _ALTERNATIVE_CALLS / 1_000

    return measure_round


def _build_blocking(call: Callable[[str], object], argument: str, calls: int) -> MeasureRound:
    async def measure_round() -> float:
        return measure_per_call_us(call, repeat(argument, calls), calls=calls)

    return measure_round


ROW = Row(
    "check",
    (
        *(
            Line(f"check.{name}", "check in the workload's process", against, targets)
            for name, (against, targets) in _ALTERNATIVES.items()
        ),
        Line(
            "check.pattern",
            "the same with scope patterns",
            "the same with a plain scope",
            (Target(Statistic.RATIO, 1 / 1.5, at_least=True),),
        ),
    ),
    measure,
)
