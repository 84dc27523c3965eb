"""Checks of Redis or Valkey, the second level for records: without it, cold look-ups are slower."""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, cast

from rescind.errors import RescindError
from rescind_cli.doctor import driver_errors, findings
from rescind_cli.doctor.findings import Finding
from rescind_cli.settings import LocalSettings
from rescind_runtime import clock
from rescind_runtime.links import RedisLink

if TYPE_CHECKING:  # imported where it is installed and needed
    from redis.asyncio import Redis

_PART = "redis"
_TIMEOUT_S = 2.0
_SLOW_MS = 20.0
_UNTIL_THEN = "Until then, cold look-ups are slightly slower."


def check(local: LocalSettings) -> Finding:
    """Check the server that RESCIND_REDIS_URL names."""
    try:
        url = local.secret("RESCIND_REDIS_URL")
    except RescindError as error:
        return findings.failed(_PART, str(error), "Correct RESCIND_REDIS_URL_FILE.")
    if url is None:
        return findings.skipped(_PART, "RESCIND_REDIS_URL is not set here")
    link = RedisLink(url, local.files("redis"))
    try:
        link.require_safe(local.plaintext)
        return driver_errors.missing(_PART, "redis") or asyncio.run(_check_server(link))
    except RescindError as error:
        return driver_errors.refused(_PART, error)


async def _check_server(link: RedisLink) -> Finding:
    # Only where a service is installed.
    from rescind_runtime.net import redis_connection  # noqa: PLC0415 - see above
    from rescind_runtime.settings import SettingsError  # noqa: PLC0415 - the same

    where = driver_errors.place(link.url)
    try:
        async with redis_connection.connection(link, timeout_s=_TIMEOUT_S) as client:
            return await _info_finding(client, where)
    except SettingsError:
        message = f"{where} cannot be used: it is not a URL of such a server"
        return findings.warning(_PART, message, f"Correct RESCIND_REDIS_URL. {_UNTIL_THEN}")
    except redis_connection.UNREACHABLE_ERRORS as error:
        usual = f"Start it, or correct RESCIND_REDIS_URL. {_UNTIL_THEN}"
        advice = driver_errors.advice(error, "redis", "RESCIND_REDIS_URL", usual)
        return findings.warning(
            _PART, f"{where} cannot be used: {driver_errors.reason(error)}", advice
        )


async def _info_finding(client: "Redis", where: str) -> Finding:
    # The first answer includes the connection, so the second one is timed.
    about = cast("Mapping[str, object]", await cast("Awaitable[object]", client.info()))  # pyright: ignore[reportUnknownMemberType] untyped options
    before_ns = clock.boottime_ns()
    await cast("Awaitable[object]", client.ping())  # pyright: ignore[reportUnknownMemberType] the same
    took_ms = (clock.boottime_ns() - before_ns) / 1e6
    name = "Valkey" if "valkey_version" in about else "Redis"
    version = about.get("valkey_version") or about.get("redis_version")
    policy, limit = str(about.get("maxmemory_policy")), str(about.get("maxmemory_human"))
    bounded = about.get("maxmemory") != 0
    memory = f"at most {limit}, {policy}" if bounded else "memory without a limit"
    message = f"{where}, {name} {version}, {took_ms:.1f} ms, {memory}"
    if bounded and policy == "noeviction":
        return findings.warning(
            _PART,
            message,
            "When it is full, it stores no more records: set maxmemory-policy to allkeys-lru.",
        )
    if took_ms > _SLOW_MS:
        return findings.warning(
            _PART, message, "It is slow: a look-up waits 50 ms for it at most. Move it closer."
        )
    return findings.ok(_PART, message)
