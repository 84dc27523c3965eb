"""Redis or Valkey, the second level for records: without it first sights are slower, no more."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from rescind.errors import RescindError
from rescind_cli.checkup import drivers, findings
from rescind_cli.checkup.findings import Finding
from rescind_cli.settings import Surroundings
from rescind_runtime import clock

if TYPE_CHECKING:  # imported where it is installed and needed
    from redis import Redis

_PART = "redis"
_TIMEOUT_S = 2.0
_SLOW_MS = 20.0


def check(here: Surroundings) -> Finding:
    """Look at the server that RESCIND_REDIS_URL names."""
    try:
        url = here.secret("RESCIND_REDIS_URL")
    except RescindError as error:
        return findings.failed(_PART, str(error), "Correct RESCIND_REDIS_URL_FILE.")
    if url is None:
        return findings.skipped(_PART, "RESCIND_REDIS_URL is not set here")
    return drivers.missing(_PART, "redis") or _look(url)


def _look(url: str) -> Finding:
    from redis import Redis  # noqa: PLC0415 - only where a service of ours is installed
    from redis.exceptions import RedisError  # noqa: PLC0415 - the same

    where = drivers.place(url)
    try:
        client = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] its options are untyped
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        with client:
            return _judge(client, where)
    except (RedisError, OSError, ValueError) as error:
        return findings.warning(
            _PART,
            f"{where} cannot be used: {drivers.reason(error)}",
            "Start it, or correct RESCIND_REDIS_URL. Until then first sights are a little slower.",
        )


def _judge(client: "Redis", where: str) -> Finding:
    # The first answer pays for the connection too, so the second one is timed.
    about = cast("Mapping[str, object]", client.info())  # pyright: ignore[reportUnknownMemberType] untyped options
    before_ns = clock.boottime_ns()
    client.ping()  # pyright: ignore[reportUnknownMemberType] the same
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    name = "Valkey" if "valkey_version" in about else "Redis"
    version = about.get("valkey_version") or about.get("redis_version")
    policy, limit = str(about.get("maxmemory_policy")), str(about.get("maxmemory_human"))
    bounded = about.get("maxmemory") != 0
    memory = f"at most {limit}, {policy}" if bounded else "memory without a limit"
    says = f"{where}, {name} {version}, {took_ms:.1f} ms, {memory}"
    if bounded and policy == "noeviction":
        return findings.warning(
            _PART,
            says,
            "When it is full it takes no more records: set maxmemory-policy to allkeys-lru.",
        )
    if took_ms > _SLOW_MS:
        return findings.warning(
            _PART, says, "Slower than a look-up should wait (50 ms at most): put it nearer."
        )
    return findings.ok(_PART, says)
