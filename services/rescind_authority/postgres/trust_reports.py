"""The trust statement that each sidecar uses."""

from dataclasses import dataclass

from rescind.core import lease, posture
from rescind_authority.postgres.pool import Postgres

_NS_PER_US = 1_000


@dataclass(frozen=True, slots=True)
class TrustReport:
    """A sidecar, the statement that its last heartbeat reported, and the end of its last lease.

    Times are Unix microseconds of Postgres's clock.
    """

    instance: bytes
    service: str
    host: str
    trust_serial: int | None
    last_seen_us: int
    stops_us: int


@dataclass(frozen=True, slots=True)
class TrustReports:
    """The reports of all sidecars, as of one time."""

    at_us: int
    sidecars: tuple[TrustReport, ...]


class PostgresTrustReports:
    """Read the reports from the lease rows."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def read(self) -> TrustReports:
        """Read all reports in one snapshot. Raises StoreUnavailableError."""
        found = await self._postgres.rows("trust_heard")
        return TrustReports(
            found[0]["at"],
            tuple(
                TrustReport(
                    row["instance"],
                    row["service"],
                    row["host"],
                    row["trust_serial"],
                    row["last_seen"],
                    row["last_seen"] + _longest_us(row["wait_term_ms"], row["posture"]),
                )
                for row in found
                if row["instance"] is not None
            ),
        )


def _longest_us(wait_term_ms: int, declared: str) -> int:
    """Return for how long after its heartbeat an instance may answer, including its grace."""
    grace_ns = lease.grace_wait_ns(posture.assumed_grace_ns(declared))
    return (lease.wait_ns(wait_term_ms) + grace_ns) // _NS_PER_US
