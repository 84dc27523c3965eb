# redis-py leaves types open:
# pyright: reportUnknownMemberType=false
"""Row `check`: a known token in the workload's own process, against the usual alternatives."""

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
from rescind_lab.bench.comparison import Line, Measured, Row, Statistic, Target
from rescind_lab.bench.environment import SCOPE, SUBJECT, BenchStage
from rescind_lab.bench.samples import Side, Unit, in_turns, per_call_us
from rescind_lab.errors import SceneError
from rescind_runtime import clock

_CALLS = 20_000  # checks of rescind in a round: some 10 ms
_RIVAL_CALLS = 300
_RSA_BITS = 2048
_KEY = "bench:record"
_PATTERNS = ("tools:call:github/*", "tools:call:jira/*", "files:read:*")
_MATCHED = "tools:call:github/issues"
_FASTER = Target(Statistic.RATIO, 50, at_least=True)

_RIVALS = {
    "redis_tcp": ("redis-py GET over TCP", (_FASTER, Target(Statistic.BEST, 1.0, at_least=False))),
    "redis_unix": ("redis-py GET over a unix socket", ()),
    "jwt_hs256": ("PyJWT HS256", (_FASTER,)),
    "jwt_rs256": ("PyJWT RS256", ()),
    "jwt_es256": ("PyJWT ES256", ()),
    "postgres": ("asyncpg SELECT by primary key", ()),
}


async def measure(stage: BenchStage) -> dict[str, Measured]:
    """Check one token that was seen before, with a scope, in turns with every alternative."""
    (token,) = await stage.issue(1)
    pattern = (await stage.admin.issue(subject=SUBJECT, kind="agent", scopes=_PATTERNS)).token
    assert pattern is not None  # noqa: S101 - it was just issued
    rounds = stage.choose(quick=3, full=15)
    with contextlib.ExitStack() as open_ones:
        verifier = Verifier.attach(stage.sidecar.socket)
        open_ones.callback(verifier.close)
        if not isinstance(verifier.check(token, require={SCOPE}), Allowed):
            raise SceneError("the sidecar does not accept a token that was just issued")
        sides: dict[str, Side] = {
            "ours": _ours(verifier, token, SCOPE),
            "pattern": _ours(verifier, pattern.reveal(), _MATCHED),
        }
        sides |= _redis(stage, open_ones) | _jwt() | {"postgres": _postgres(stage, token)}
        measured = await in_turns(sides, rounds=rounds, unit=Unit.US)
    rivals = {f"check.{name}": Measured(measured["ours"], measured[name]) for name in _RIVALS}
    note = f"{_MATCHED} among {len(_PATTERNS)} patterns"
    return rivals | {"check.pattern": Measured(measured["pattern"], measured["ours"], note)}


def _ours(verifier: Verifier, token: str, scope: str) -> Side:
    return _blocking(partial(verifier.check, require=frozenset({scope})), token, _CALLS)


def _redis(stage: BenchStage, open_ones: contextlib.ExitStack) -> dict[str, Side]:
    clients = {
        "redis_tcp": redis.Redis(port=stage.redis_port),
        "redis_unix": redis.Redis.from_url(stage.system.redis),
    }
    for client in clients.values():
        open_ones.callback(client.close)
        client.set(_KEY, b"x" * 400)  # about as long as a record
    return {name: _blocking(client.get, _KEY, _RIVAL_CALLS) for name, client in clients.items()}


def _jwt() -> dict[str, Side]:
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
        f"jwt_{algorithm.lower()}": _blocking(
            partial(jwt.decode, key=key, algorithms=[algorithm]), text, _RIVAL_CALLS
        )
        for algorithm, (text, key) in signed.items()
    }


def _now_s() -> int:
    return clock.wall_us() // 1_000_000


def _postgres(stage: BenchStage, token: str) -> Side:
    query = "SELECT subject, scopes, expires_at FROM tokens WHERE token_hash = $1"

    async def side() -> float:
        token_hash = token_format.digest(token)
        began_ns = clock.monotonic_raw_ns()
        for _ in range(_RIVAL_CALLS):
            await stage.postgres.fetchrow(query, token_hash)
        return (clock.monotonic_raw_ns() - began_ns) / _RIVAL_CALLS / 1_000

    return side


def _blocking(call: Callable[[str], object], argument: str, calls: int) -> Side:
    async def side() -> float:
        return per_call_us(call, repeat(argument, calls), calls=calls)

    return side


ROW = Row(
    "check",
    (
        *(
            Line(f"check.{name}", "check in the workload's process", against, targets)
            for name, (against, targets) in _RIVALS.items()
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
