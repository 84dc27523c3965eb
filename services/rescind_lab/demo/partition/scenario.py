"""The scenario: a sidecar of three is cut off, a token is revoked, and `wait` returns the receipt.

As in the demo, everything is real. The sidecar that is cut off keeps running, and answers from
memory: its connections to NATS and to the authority go through a proxy, which is cut. The lease
term is short, so that the scenario fits into a minute; with the default of 10 s it takes longer.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from rescind.client.admin import AsyncAdmin, RevocationDetails
from rescind_lab.demo import environment
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.environment import REVOKED, SERVICES
from rescind_lab.demo.partition import findings, tcp_proxy
from rescind_lab.demo.partition.findings import PartitionLane, PartitionTimes
from rescind_lab.demo.partition.tcp_proxy import Wire
from rescind_lab.demo.timeline import Assertion
from rescind_lab.errors import SceneError
from rescind_runtime import clock
from rescind_runtime.local_system.stack import System

CUT_OFF = "billing"
TERM_S = 4.0
LEASE_S = 0.9 * TERM_S  # design 7
_HEARTBEAT_S = 1.0

_BEFORE_S = 1.0
_CUT_BEFORE_S = 1.0
_AFTER_S = 1.2
_RECOVERY_S = 15.0
_RECOVERED_S = 0.8
_TIMEOUT_S = 30.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class PartitionOutcome:
    """The outcome of the scenario."""

    revocation: RevocationDetails
    moments: PartitionTimes
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[PartitionLane, ...]
    claims: tuple[Assertion, ...]

    @property
    def ok(self) -> bool:
        """Whether every claim was measured to hold."""
        return all(claim.holds for claim in self.claims)


async def play(environ: Mapping[str, str], *, show_step: Callable[[str], None]) -> PartitionOutcome:
    """Run the scenario in a directory that is deleted afterwards. Raises RescindError."""
    async with (
        tcp_proxy.running() as wire,
        environment.running(
            environ,
            show_step=show_step,
            reach=lambda service, settings: _sidecar_settings(service, settings, wire),
            RESCIND_TERM=str(TERM_S),
            RESCIND_HEARTBEAT_S=str(_HEARTBEAT_S),
        ) as here,
        here.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        pair = await environment.issue(admin)
        async with environment.calling(here, pair.secrets, show_step=show_step) as traffic:
            await asyncio.sleep(_BEFORE_S)
            revocation, moments = await _partition(admin, pair.revoked_id, wire, show_step)
            show_step(f"{CUT_OFF} is connected again")
            await _recovery(here.system)
    return _outcome(revocation, moments, tuple(traffic.made))


def _sidecar_settings(service: str, settings: Mapping[str, str], wire: Wire) -> Mapping[str, str]:
    """Return the settings of a sidecar; those of the one to cut off lead through the wire."""
    if service != CUT_OFF:
        return settings
    # Redis is on a unix socket, which no network failure cuts. So this sidecar runs without it.
    kept = {name: text for name, text in settings.items() if name != "RESCIND_REDIS_URL"}
    ways = {name: wire.through(settings[name]) for name in ("RESCIND_NATS_URL", "RESCIND_URL")}
    return kept | ways


async def _partition(
    admin: AsyncAdmin, token_id: str, wire: Wire, show_step: Callable[[str], None]
) -> tuple[RevocationDetails, PartitionTimes]:
    """Cut the wire, revoke a token, wait for the receipt, and heal the wire."""
    show_step(f"{CUT_OFF} is cut off")
    cut_ns = clock.boottime_ns()
    with wire.cut():
        await asyncio.sleep(_CUT_BEFORE_S)
        show_step("revoking, and waiting for the receipt")
        revocation = await admin.revoke(
            f"token:{token_id}", reason="the demo", wait=True, timeout=_TIMEOUT_S / 2
        )
        receipt_ns = clock.boottime_ns()
        if revocation["receipt"] is None:
            raise SceneError(f"there was no receipt in {_TIMEOUT_S / 2:.0f} s")
        show_step("the receipt is here")
        await asyncio.sleep(_AFTER_S)
        healed_ns = clock.boottime_ns()
    return revocation, PartitionTimes(
        cut_ns=cut_ns,
        commit_ns=environment.boottime_ns(revocation["committed_at"]),
        lapse_ns=cut_ns + int(LEASE_S * 1e9),
        receipt_ns=receipt_ns,
        healed_ns=healed_ns,
    )


async def _recovery(system: System) -> None:
    """Wait until the sidecar holds a lease again, and then a little for the calls to show it.

    A sidecar that does not recover is not an error here: a claim then does not hold.
    """
    (url,) = [sidecar.http for sidecar in system.sidecars if sidecar.service == CUT_OFF]
    async with httpx2.AsyncClient(trust_env=False) as client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RECOVERY_S):
                while (  # noqa: ASYNC110 - another process has no event to wait for
                    await client.get(f"{url}/readyz")
                ).status_code != HTTPStatus.OK:
                    await asyncio.sleep(_POLL_S)
    await asyncio.sleep(_RECOVERED_S)


def _outcome(
    revocation: RevocationDetails, moments: PartitionTimes, made: tuple[MeasuredCall, ...]
) -> PartitionOutcome:
    lanes = findings.lanes(
        made,
        moments,
        revocation["receipt"] or {"verifiers": ()},
        services=SERVICES,
        cut_off=CUT_OFF,
        revoked=REVOKED,
    )
    return PartitionOutcome(revocation, moments, made, lanes, findings.claims(lanes, moments))
