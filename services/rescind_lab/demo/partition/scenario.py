"""Run the scenario of a partition: cut a sidecar off, revoke a token, and wait for the receipt.

Nothing is simulated, as in the demo. The connections of one of three sidecars to NATS and to the
authority go through a proxy, which is cut. The sidecar still runs, and answers from memory. The
lease term is shorter than the default of 10 s, so that the scenario takes less than a minute.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import httpx2

from rescind.client.admin import AsyncAdmin, RevocationDetails
from rescind_lab.demo import system
from rescind_lab.demo.calls import MeasuredCall
from rescind_lab.demo.partition import findings, tcp_proxy
from rescind_lab.demo.partition.findings import PartitionLane, PartitionTimes
from rescind_lab.demo.partition.tcp_proxy import TcpProxy
from rescind_lab.demo.system import REVOKED, SERVICES
from rescind_lab.demo.timeline import MeasuredClaim
from rescind_lab.errors import LabError
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
    times: PartitionTimes
    calls: tuple[MeasuredCall, ...]
    lanes: tuple[PartitionLane, ...]
    claims: tuple[MeasuredClaim, ...]

    @property
    def ok(self) -> bool:
        """Return True if the measurement confirms every claim."""
        return all(claim.holds for claim in self.claims)


async def run(environ: Mapping[str, str], *, show_step: Callable[[str], None]) -> PartitionOutcome:
    """Run the scenario in a directory that is deleted afterwards. Raises RescindError."""
    async with (
        tcp_proxy.run_proxy() as proxy,
        system.run_system(
            environ,
            show_step=show_step,
            reach=lambda service, settings: _sidecar_settings(service, settings, proxy),
            RESCIND_TERM=str(TERM_S),
            RESCIND_HEARTBEAT_S=str(_HEARTBEAT_S),
        ) as demo,
        demo.admin(timeout_s=_TIMEOUT_S) as admin,
    ):
        tokens = await system.issue_tokens(admin)
        async with system.run_agent(demo, tokens.secrets, show_step=show_step) as agent:
            await asyncio.sleep(_BEFORE_S)
            revocation, times = await _cut_and_revoke(admin, tokens.revoked_id, proxy, show_step)
            show_step(f"{CUT_OFF} is connected again")
            await _wait_for_recovery(demo.system)
    return _build_outcome(revocation, times, tuple(agent.calls))


def _sidecar_settings(
    service: str, settings: Mapping[str, str], proxy: TcpProxy
) -> Mapping[str, str]:
    """Return the settings of a sidecar; the sidecar of CUT_OFF connects through the proxy."""
    if service != CUT_OFF:
        return settings
    # Redis listens on a unix socket, which the proxy cannot cut: this sidecar runs without Redis.
    kept = {name: text for name, text in settings.items() if name != "RESCIND_REDIS_URL"}
    routes = {
        name: proxy.open_route(settings[name]) for name in ("RESCIND_NATS_URL", "RESCIND_URL")
    }
    return kept | routes


async def _cut_and_revoke(
    admin: AsyncAdmin, token_id: str, proxy: TcpProxy, show_step: Callable[[str], None]
) -> tuple[RevocationDetails, PartitionTimes]:
    """Cut the proxy, revoke a token, wait for the receipt, and heal the proxy. Raises LabError."""
    show_step(f"{CUT_OFF} is cut off")
    cut_ns = clock.boottime_ns()
    with proxy.cut():
        await asyncio.sleep(_CUT_BEFORE_S)
        show_step("revoking, and waiting for the receipt")
        revocation = await admin.revoke(
            f"token:{token_id}", reason="the demo", wait=True, timeout=_TIMEOUT_S / 2
        )
        receipt_ns = clock.boottime_ns()
        if revocation["receipt"] is None:
            raise LabError(f"no receipt arrived in {_TIMEOUT_S / 2:.0f} s")
        show_step("the receipt has arrived")
        await asyncio.sleep(_AFTER_S)
        healed_ns = clock.boottime_ns()
    return revocation, PartitionTimes(
        cut_ns=cut_ns,
        commit_ns=system.to_boottime_ns(revocation["committed_at"]),
        lapse_ns=cut_ns + int(LEASE_S * 1e9),
        receipt_ns=receipt_ns,
        healed_ns=healed_ns,
    )


async def _wait_for_recovery(system: System) -> None:
    """Wait until the sidecar has a lease again, and then until the agent has called it.

    A sidecar that does not recover raises no error: a claim then does not hold.
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


def _build_outcome(
    revocation: RevocationDetails, times: PartitionTimes, calls: tuple[MeasuredCall, ...]
) -> PartitionOutcome:
    lanes = findings.build_lanes(
        calls,
        times,
        revocation["receipt"] or {"verifiers": ()},
        services=SERVICES,
        cut_off=CUT_OFF,
        revoked=REVOKED,
    )
    return PartitionOutcome(revocation, times, calls, lanes, findings.check_claims(lanes, times))
