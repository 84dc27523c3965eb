"""The sidecars that have the newest trust statement, and when the others stop at the latest.

`rescind keys retire` shows this from the lease rows: each heartbeat of a sidecar reports its
current statement, and the answer contains the newest one.
"""

import asyncio
from collections.abc import Sequence

from rescind_authority.operator.key_commands import ALL
from rescind_authority.postgres import pool
from rescind_authority.postgres.trust_reports import PostgresTrustReports, TrustReport, TrustReports
from rescind_authority.settings import AuthoritySettings
from rescind_runtime.clock import monotonic_raw_ns
from rescind_runtime.crypto.signing import MASTER, Keyring

FORGEABLE = frozenset({MASTER, ALL})
"""The keys retired with these sign heartbeats, which prove nothing until authorities reload."""

_POLL_S = 0.25
_RELOAD_US = 4_000_000
"""The time in which a running authority reloads the file, checked every two seconds."""


async def wait(
    settings: AuthoritySettings, *, timeout_s: float, retired: str | None = None
) -> dict[str, object]:
    """Wait until every sidecar has the statement, or has no lease. Raises RescindError.

    Returns the sidecars that have it, and those that lack it when the time runs out. `retired` is
    the kind of key that was retired just now.
    """
    serial = Keyring.read(settings.keyring_path).serial
    ends_ns = monotonic_raw_ns() + round(timeout_s * 1e9)
    async with pool.connect(settings.postgres) as postgres:
        reports = PostgresTrustReports(postgres)
        seen = await reports.read()
        since_us = seen.at_us + _RELOAD_US if retired in FORGEABLE else 0
        while True:
            heard, waiting = _divide(seen, serial=serial, since_us=since_us)
            if not waiting or monotonic_raw_ns() >= ends_ns:
                return {
                    "serial": serial,
                    "state": "waiting" if waiting else "heard",
                    "heard": [_to_document(each) for each in heard],
                    "waiting": [_to_document(each) for each in waiting],
                }
            await asyncio.sleep(_POLL_S)
            seen = await reports.read()


def _divide(
    seen: TrustReports, *, serial: int, since_us: int
) -> tuple[Sequence[TrustReport], Sequence[TrustReport]]:
    """Return the sidecars that have the statement, and those without it that may have a lease."""
    heard = [
        each
        for each in seen.sidecars
        if (each.trust_serial or 0) >= serial and each.last_seen_us >= since_us
    ]
    rest = [each for each in seen.sidecars if each not in heard and each.stops_us > seen.at_us]
    return heard, rest


def _to_document(each: TrustReport) -> dict[str, object]:
    return {
        "instance": each.instance.hex(),
        "service": each.service,
        "host": each.host,
        "trust_serial": each.trust_serial,
        "last_seen_us": each.last_seen_us,
        "stops_us": each.stops_us,
    }
